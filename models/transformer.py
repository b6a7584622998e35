"""The pre-norm transformer that the networks share, with padded tokens masked in attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.outputs import Heads


class Attention(nn.Module):
    """Multi-head self-attention of a normalised input; queries, keys and values without bias.

    Attention weights are never dropped, which keeps torch's fused kernel; ``dropout`` acts on the
    output.
    """

    def __init__(self, dim: int, *, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Heads]:
        """Attend among ``tokens`` (batch, tokens, dim); ``mask`` (batch, 1, 1, tokens) bool.

        Returns:
            (batch, tokens, dim), and the queries, keys and values that led to it.
        """
        batch, count, _ = tokens.shape
        qkv = self.qkv(self.norm(tokens)).view(batch, count, 3, self.heads, -1)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        heard = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        merged: Tensor = self.dropout(self.out(heard.transpose(1, 2).flatten(2)))
        return merged, Heads(queries, keys, values)


class FeedForward(nn.Sequential):
    """LayerNorm, a GELU layer of ``mlp_dim`` units, and back to ``dim``."""

    def __init__(self, dim: int, *, mlp_dim: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, mlp_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_dim, dim),
            nn.Dropout(dropout),
        )


class Transformer(nn.Module):
    """``depth`` pre-norm blocks and a last LayerNorm.

    Args:
        dim: width of a token.
        depth: blocks; 0 leaves only the LayerNorm.
        heads: attention heads.
        head_dim: width of a head; ``heads * head_dim`` need not equal ``dim``.
        mlp_dim: hidden width of the feed-forward layers.
        dropout: share dropped after attention and in the feed-forward layers.
    """

    def __init__(
        self, dim: int, *, depth: int, heads: int, head_dim: int, mlp_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            Attention(dim, heads=heads, head_dim=head_dim, dropout=dropout) for _ in range(depth)
        )
        self.feeds = nn.ModuleList(
            FeedForward(dim, mlp_dim=mlp_dim, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Transform ``tokens`` (batch, tokens, dim).

        Args:
            tokens: (batch, tokens, dim).
            mask: (batch, tokens) bool, true where the token is real and may be attended to; every
                row needs at least one.
        """
        return self.listened(tokens, mask)[0]

    def listened(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Heads, ...]]:
        """What ``forward`` gives, and each block's queries, keys and values."""
        keys = mask[:, None, None, :]
        listened = []
        for attention, feed in zip(self.attentions, self.feeds, strict=True):
            heard, heads = attention(tokens, keys)
            listened.append(heads)
            tokens = tokens + heard
            tokens = tokens + feed(tokens)
        normed: Tensor = self.norm(tokens)
        return normed, tuple(listened)
