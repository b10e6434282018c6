"""What is wrong with an APK."""

from __future__ import annotations

from cloudq_tui.errors import PermanentFailure


class BadApk(PermanentFailure):
    """The file is no APK, was changed after it was signed, or is signed in a way that Android refuses."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"bad APK: {reason}")
