"""Durations as people write them."""


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 3 h 12 min, 12 min 5 s, 5 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
