# SPDX-License-Identifier: BSD-2-Clause
"""A crypto device of uvdpad: in a stock guest, whose kernel's AF_ALG uses it, and under OpenSSL's own
command line, by the provider."""
import os

from lab import BUILD, LabError, Qemu, main, need, run, say
from uvdpa import Uvdpa

OPENSSL = "/usr/bin/openssl"
KEY = bytes(range(32)).hex()
IV = bytes(range(16)).hex()

# Runs in the guest: AES-CBC by the driver of the device, beside the known answers of NIST SP
# 800-38A (F.2.1, F.2.3, F.2.5), and long texts there and back, in pieces of any size.
SCRIPT = """
import os, socket

IV = bytes(range(16))
PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
KNOWN = {
    "2b7e151628aed2a6abf7158809cf4f3c":
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
        "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b":
        "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"
        "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4":
        "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
        "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
}


def run(key, op, data):
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as alg:
        alg.bind(("skcipher", "virtio_crypto_aes_cbc"))
        alg.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, key)
        op_sock, _ = alg.accept()
        with op_sock:
            op_sock.sendmsg_afalg([data], op=op, iv=IV)
            return op_sock.recv(len(data))


for key, cipher in KNOWN.items():
    key = bytes.fromhex(key)
    assert run(key, socket.ALG_OP_ENCRYPT, PLAIN).hex() == cipher, key.hex()
    assert run(key, socket.ALG_OP_DECRYPT, bytes.fromhex(cipher)) == PLAIN, key.hex()
for size in (16, 4096, 4112, 32768, 65520):
    data = os.urandom(size)
    sealed = run(b"k" * 16, socket.ALG_OP_ENCRYPT, data)
    assert sealed != data and len(sealed) == size
    assert run(b"k" * 16, socket.ALG_OP_DECRYPT, sealed) == data, size
print("all right")
"""


def qemu(lab):
    """AES-CBC of the guest's kernel is done by the device, also after a reset."""
    uvdpa = Uvdpa(lab, "dev add name crypto0 mgmtdev crypto", "dev bind crypto0 driver vhost-user")
    guest = Qemu(lab, [], modules=["algif_skcipher", "virtio_crypto"], extra=[
        "-chardev", f"socket,id=crypto,path={uvdpa.socket('crypto0')}",
        "-object", "cryptodev-vhost-user,id=cryptodev,chardev=crypto",
        "-device", "virtio-crypto-pci,cryptodev=cryptodev"])
    say("booted")
    check(guest, uvdpa)
    guest.reset()
    say("reset")
    check(guest, uvdpa)
    guest.poweroff()
    uvdpa.stop()


def check(guest, uvdpa):
    def served():
        return uvdpa.json("dev vstats show crypto0")["vstats"]["crypto0"]["queues"][0]

    before = served()
    program = "\n".join(["cat >/tmp/afalg.py <<'EOF'", SCRIPT, "EOF", "python3 /tmp/afalg.py"])
    assert "all right" in guest.sh(program)
    after = served()
    assert after["requests"] - before["requests"] >= 16, (before, after)
    assert after["errors"] == before["errors"], after
    device = uvdpa.json("dev show crypto0")["dev"]["crypto0"]
    assert device["device"]["sessions"] <= 2, device


def provider(lab):
    """openssl enc, dgst, mac and speed work on the device, and come to the same as without it."""
    need(OPENSSL, "openssl")
    uvdpa = Uvdpa(lab, "dev add name crypto0 mgmtdev crypto queues 2", "dev bind crypto0 driver virtio")
    env = {**os.environ, "UVDPA_CRYPTO_SOCKET": uvdpa.path("crypto0", "crypto.sock")}
    use = ["-provider-path", os.path.join(BUILD, "src/provider"), "-provider", "uvdpa",
           "-propquery", "provider=uvdpa"]

    def requests():
        return uvdpa.json("dev vstats show crypto0")["vstats"]["crypto0"]["queues"][0]["requests"]

    def openssl(*argv, on_device=True, **kwargs):
        before = requests()
        output = run(OPENSSL, *argv, env=env, **kwargs)
        assert (requests() > before) == on_device, argv
        return output

    # Larger than what goes to the device at once, and no whole block.
    plain = lab.path("plain")
    with open(plain, "wb") as f:
        f.write(os.urandom(200001))
    for mode in ("ecb", "cbc", "ctr"):
        for bits in (128, 192, 256):
            words = ["enc", f"-aes-{bits}-{mode}", "-K", KEY[:bits // 4], "-in"]
            words_iv = [] if mode == "ecb" else ["-iv", IV]
            openssl(*words, plain, "-out", lab.path("ours"), *words_iv, *use)
            openssl(*words, plain, "-out", lab.path("theirs"), *words_iv, on_device=False)
            openssl(*words, lab.path("ours"), "-d", "-out", lab.path("back"), *words_iv, *use)
            run("cmp", lab.path("ours"), lab.path("theirs"))
            run("cmp", plain, lab.path("back"))
    say("enc")

    small = lab.path("small")
    with open(small, "wb") as f:
        f.write(os.urandom(60000))
    for name in ("sha1", "sha224", "sha256", "sha384", "sha512", "sha3-256", "sha3-512"):
        assert (openssl("dgst", f"-{name}", *use, small)
                == openssl("dgst", f"-{name}", small, on_device=False)), name
    # Too long for the device: no digest, rather than one of a part.
    try:
        openssl("dgst", "-sha256", *use, plain, on_device=False)
    except LabError as error:
        assert "SHA2-256(" not in str(error), error
    else:
        raise LabError("a digest of too long a message")
    say("dgst")

    for words in (["-digest", "SHA256", "-macopt", f"hexkey:{KEY}", "-in", small, "HMAC"],
                  ["-cipher", "AES-256-CBC", "-macopt", f"hexkey:{KEY}", "-in", small, "CMAC"]):
        assert (openssl("mac", *use, *words) == openssl("mac", *words, on_device=False)), words
    say("mac")

    # It draws random bytes, which the device has not.
    for words in (["aes-128-cbc"], ["aes-256-xts"], ["sha256"], ["aes-256-gcm", "-aead"]):
        openssl("speed", "-provider", "default", *use[:-1], "?provider=uvdpa", "-elapsed",
                "-seconds", "1", "-bytes", "16384", "-evp", *words)
    say("speed")
    uvdpa("dev unbind crypto0")
    uvdpa.stop()


main(qemu, provider)
