"""What a student learns from a teacher: objectives and temperatures, one idea a file."""
