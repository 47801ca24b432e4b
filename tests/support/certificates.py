"""Certificates for servers and clients on loopback, and every way in which one can be wrong."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


class Authority:
    """An authority of its own: ``Authority(tmp_path).issue("server")``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        """Make it in a folder: ``ca.pem`` there is its certificate."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # The server reads these files as another user where the tests run as root.
        folder.chmod(0o755)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cdc test {name}")])
        self._certificate = self._signed(self._name, self._key, (), ends=10 * _DAY, is_ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        hosts: Iterable[str] = ("127.0.0.1", "localhost"),
        *,
        ends: dt.timedelta = 5 * _DAY,
        is_rsa: bool = False,
    ) -> tuple[Path, Path]:
        """Return the files of a new certificate and of its key.

        Args:
            hosts: names and addresses that it is for.
            ends: from now; below zero: it has expired.
            is_rsa: for a server that knows no elliptic curves, as MySQL 8.0.15.
        """
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if is_rsa:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key, hosts, ends=ends)
        files = self.folder / f"{name}-cert.pem", self.folder / f"{name}-key.pem"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        hosts: Iterable[str],
        *,
        ends: dt.timedelta,
        is_ca: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 9 * _DAY)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names := [_general(host) for host in hosts]:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def mysql_options(files: tuple[Path, Path], authority: Authority) -> tuple[str, ...]:
    """Return what mysqld and mariadbd take to use a certificate."""
    cert, key = files
    return (f"--ssl-cert={cert}", f"--ssl-key={key}", f"--ssl-ca={authority.file}")


def nats_options(files: tuple[Path, Path], authority: Authority, *, verify: bool = False) -> str:
    """Return what nats-server takes; `verify`: clients need a certificate of the authority."""
    cert, key = files
    asks = f', ca_file: "{authority.file}", verify: true' if verify else ""
    return f'tls {{ cert_file: "{cert}", key_file: "{key}"{asks} }}'


def redis_options(
    port: int, files: tuple[Path, Path], authority: Authority, *, verify: bool = False
) -> tuple[str, ...]:
    """Return what redis-server takes to speak TLS on a second port."""
    cert, key = files
    named = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file")
    asks = "yes" if verify else "no"
    return ("--tls-port", str(port), *named, str(authority.file), "--tls-auth-clients", asks)
