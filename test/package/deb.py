#!/usr/bin/env python3
"""The Debian package. Against a private prefix cpack refuses, and says why, unless told that the package is for this
machine; then, and against a system libllama at once, the package holds what belongs in it. Usage: deb.py BUILD_DIR
PRIVATE(ON|OFF)"""
import glob
import os
import subprocess
import sys
import tempfile

HOLDS = ("usr/bin/baton", "libexec/baton/baton-owner", "libbaton.so.0.1.0", "include/baton/llama.h",
         "pkgconfig/baton.pc", "baton-config.cmake",
         "share/baton/baton-tiny-q8_0.gguf", "man1/baton.1", "man5/baton.ini.5", "man3/baton_llama.3")


def cpack(build, out, **env):
    return subprocess.run(["cpack", "--config", os.path.join(build, "CPackConfig.cmake"), "-B", out], text=True,
                          capture_output=True, timeout=240, env={**os.environ, **env})


def main():
    build, private = sys.argv[1], sys.argv[2] == "ON"
    with tempfile.TemporaryDirectory() as out:
        if private:
            done = cpack(build, out, BATON_PACKAGE_FOR_HERE="")
            if done.returncode == 0 or "would not run on" not in " ".join(done.stderr.split()) or glob.glob(f"{out}/*.deb"):
                sys.exit(f"a package of a private build was not refused: {done.stdout}{done.stderr}")
        done = cpack(build, out, BATON_PACKAGE_FOR_HERE="yes")
        packages = glob.glob(f"{out}/baton_0.1.0_*.deb")
        if done.returncode != 0 or len(packages) != 1:
            sys.exit(f"no package: {done.stdout}{done.stderr}")
        tree = subprocess.run(["dpkg-deb", "-c", packages[0]], capture_output=True, text=True, check=True).stdout
        missing = [name for name in HOLDS if name not in tree]
        if missing:
            sys.exit(f"not in the package: {missing}\n{tree}")
        depends = subprocess.run(["dpkg-deb", "-f", packages[0], "Depends"], capture_output=True, text=True, check=True).stdout
        if not private and "libllama" not in depends:
            sys.exit(f"the package does not depend on libllama, but on: {depends}")
    print("ok, refused at first" if private else "ok")


if __name__ == "__main__":
    main()
