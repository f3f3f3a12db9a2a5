"""DECIDES: what is asked for, who should answer, what an answer means. Standard library only."""
