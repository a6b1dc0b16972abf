"""How many steps Python leaves to the device at a time."""

TARGET_SECONDS = 1.0
"""Long enough to cost nothing, short enough for Ctrl-C, checkpoints and the progress bar."""
FIRST_STEPS = 8
GROWTH = 8


class Pace:
    """The length of the next chunk, from the time that the last one took.

    The cuts change no result: all randomness is a function of the step.
    """

    def __init__(self):
        self.steps = FIRST_STEPS

    def took(self, steps: int, seconds: float) -> None:
        """Learn from a chunk."""
        wanted = int(steps * TARGET_SECONDS / max(seconds, 1e-6))
        self.steps = max(1, min(wanted, GROWTH * self.steps))
