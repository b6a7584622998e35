"""WavLM's self-attention through its projections' modules."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from transformers.models.wavlm.modeling_wavlm import WavLMAttention


class ModuleAttention(WavLMAttention):
    """The same numbers as ``transformers``, which reads the projections' weights past their
    modules: what is added to a projection (LoRA) would then be silently left out.
    """

    def torch_multi_head_self_attention(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        gated_position_bias: Tensor,
    ) -> tuple[Tensor, None]:
        """Attend with a bias of relative positions.

        Args:
            hidden_states: (batch, frames, width).
            attention_mask: (batch, 1, 1, frames), added to the scores; None: nothing.
            gated_position_bias: (batch * heads, frames, frames), added to the scores.

        Returns:
            (batch, frames, width), and no attention weights.
        """
        batch, frames, _ = hidden_states.shape
        queries, keys, values = (
            projection(hidden_states).view(batch, frames, self.num_heads, -1).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = gated_position_bias.view(batch, self.num_heads, frames, frames)
        heard = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=bias if attention_mask is None else bias + attention_mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        merged: Tensor = self.out_proj(heard.transpose(1, 2).reshape(batch, frames, -1))
        return merged, None
