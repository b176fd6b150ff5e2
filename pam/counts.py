"""How many of what, in words."""


def counted(number: int, what: str) -> str:
    """Such as 1 cell, 2 cells, 0 cells; `what` in the singular, of those words that take an s."""
    return f"{number} {what}{'s' * (number != 1)}"
