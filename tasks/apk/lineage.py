"""The proof of rotation in schemes 3 and 3.1: how an application's older signers handed over to the present one.

Every node names a certificate and is signed by the one before it; the last is the package's own signer.
"""

from __future__ import annotations

from tasks.apk.block import ALGORITHMS, BlockSigner, Fields
from tasks.apk.errors import BadApk
from tasks.apk.keys import public_key, verify

_ROTATION = 0x3BA06F8C
_MOST_NODES = 100


def check_lineage(signer: BlockSigner) -> None:
    """Raises BadApk when the signer has a proof of rotation that does not lead to it."""
    if _ROTATION not in signer.attributes:
        return
    fields = Fields(signer.attributes[_ROTATION])
    fields.number()  # the format's version, which Android does not look at either
    certificates: list[bytes] = []
    algorithm = 0
    while fields:
        node = Fields(fields.field())
        signed, _, following, signature = node.field(), node.number(), node.number(), node.field()
        inner = Fields(signed)
        certificate, named = inner.field(), inner.number()
        if certificates:
            if named != algorithm or named not in ALGORITHMS:
                raise BadApk("its proof of rotation uses another algorithm than it says")
            verify(public_key(certificates[-1]), ALGORITHMS[named], signature, signed)
        if certificate in certificates or len(certificates) == _MOST_NODES:
            raise BadApk("its proof of rotation names a signer twice, or too many")
        certificates.append(certificate)
        algorithm = following
    if certificates[-1:] != [signer.certificate]:
        raise BadApk("its proof of rotation does not lead to its signer")
