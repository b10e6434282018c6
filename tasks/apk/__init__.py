"""Is this APK whole, who signed it, and what is in it: read from the file alone, nothing of it trusted or run.

Signature schemes 1, 2, 3 and 3.1 as Android verifies them (source.android.com/docs/security/features/apksigning).
"""

from __future__ import annotations

from tasks.apk.errors import BadApk
from tasks.apk.verification import Apk, Signers, certificate_hash, verify_apk

__all__ = ["Apk", "BadApk", "Signers", "certificate_hash", "verify_apk"]
