"""Checks of single signatures, over cryptography: the algorithms that Android accepts and no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from tasks.apk.errors import BadApk

MOST_SIGNERS = 10
"""Of one package by one scheme."""
Hash = Literal["sha1", "sha224", "sha256", "sha384", "sha512"]
_HASHES: dict[Hash, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - scheme 1 of old packages; Android takes it too
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A kind of key, a hash, and whether RSA pads by PSS."""

    key: Literal["rsa", "ec", "dsa"]
    hash: Hash
    pss: bool = False


def public_key(certificate: bytes) -> PublicKeyTypes:
    """The key of a DER certificate. Raises BadApk."""
    try:
        return x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise BadApk("a signer's certificate cannot be read") from None


def encoded(key: PublicKeyTypes) -> bytes:
    """The key as a SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def verify(key: PublicKeyTypes, algorithm: Algorithm, signature: bytes, data: bytes) -> None:
    """Raises BadApk when `signature` is not that key's of `data`."""
    digest = _HASHES[algorithm.hash]
    try:
        match algorithm.key, key:
            case "rsa", rsa.RSAPublicKey():
                pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
                key.verify(signature, data, pss if algorithm.pss else padding.PKCS1v15(), digest)
            case "ec", ec.EllipticCurvePublicKey():
                key.verify(signature, data, ec.ECDSA(digest))
            case "dsa", dsa.DSAPublicKey():
                key.verify(signature, data, digest)
            case _:
                raise BadApk("a signature's algorithm and key do not fit")
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise BadApk("a signature is not that of its signer") from None
