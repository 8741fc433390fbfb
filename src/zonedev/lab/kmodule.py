"""Builds a module for a kernel out of its headers, with the C compiler alone.

The kernel's own way takes make, modpost and objtool, programs of the headers packages that are built
for the newest Debian and need not run here.  What they add is little: a few lines of C that describe
the module, which are written here, and tables of objtool that a kernel does without.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab import elf, host
from zonedev.lab.errors import LabError

#: objtool would turn the jumps of static keys into no-ops; without it the compiler has to write no-ops.
WITHOUT_OBJTOOL = "#undef CONFIG_HAVE_JUMP_LABEL_HACK\n"
#: What the module says of itself; it has to have a beginning and an end.
ABOUT = """\
#define INCLUDE_VERMAGIC
#include <linux/module.h>
#include <linux/vermagic.h>
MODULE_INFO(vermagic, VERMAGIC_STRING);
MODULE_INFO(name, KBUILD_MODNAME);
MODULE_INFO(depends, "");
__visible struct module __this_module __section(".gnu.linkonce.this_module") = {
	.name = KBUILD_MODNAME,
	.init = init_module,
	.exit = cleanup_module,
	.arch = MODULE_ARCH_INIT,
};
"""
#: The kernel's include paths, in its order, below the headers that all flavours share, or those of one.
INCLUDES = (
    ("common", "arch/x86/include"),
    ("own", "arch/x86/include/generated"),
    ("common", "include"),
    ("own", "include"),
    ("common", "arch/x86/include/uapi"),
    ("own", "arch/x86/include/generated/uapi"),
    ("common", "include/uapi"),
    ("own", "include/generated/uapi"),
)
#: What code has to keep to that runs in the kernel.  Left out are mitigations, hooks of the tracer, the
#: stack protector and warnings: a guest does without.  Frame pointers keep stacks readable.
OPTIONS = (
    *("-w", "-std=gnu11", "-fms-extensions", "-O2", "-nostdinc", "-D__KERNEL__", "-DMODULE"),
    *("-fshort-wchar", "-funsigned-char", "-fno-common", "-fno-PIE", "-fno-strict-aliasing"),
    *("-fno-strict-overflow", "-fno-delete-null-pointer-checks", "-fno-stack-protector"),
    *("-fno-stack-check", "-fno-stack-clash-protection", "-fno-omit-frame-pointer"),
    *("-fno-asynchronous-unwind-tables", "-fno-jump-tables", "-fcf-protection=branch", "-m64"),
    *("-mcmodel=kernel", "-mno-red-zone", "-mno-80387", "-mno-mmx", "-mno-sse", "-mno-sse2"),
    *("-mno-3dnow", "-mno-avx", "-mpreferred-stack-boundary=3"),
)
FORCED = ("linux/compiler-version.h", "linux/kconfig.h", "without-objtool.h", "linux/compiler_types.h")
LINKING = ("-r", "-nostdlib", "-no-pie", "-Wl,--build-id=none")


def recipe() -> str:
    """All that decides how a module is built."""
    return repr((WITHOUT_OBJTOOL, ABOUT, INCLUDES, OPTIONS, FORCED, LINKING, as_in_the_tree(Path("tree"))))


@dataclass(frozen=True)
class Headers:
    """The headers of a kernel: those that all flavours share, and what this one has of its own."""

    common: Path
    own: Path

    @classmethod
    def below(cls, unpacked: Path, release: str) -> Headers:
        """Out of a tree of unpacked packages."""
        place = unpacked / "usr/src"
        shared, own = (place / name for name in header_packages(release))
        return cls(shared, own)

    @property
    def options(self) -> set[str]:
        """The options of its configuration that are set, without CONFIG_."""
        lines = (self.own / "include/config/auto.conf").read_text(encoding="utf-8").splitlines()
        return {line.partition("=")[0].removeprefix("CONFIG_") for line in lines}

    @property
    def exported(self) -> set[str]:
        """The symbols that modules can use."""
        lines = (self.own / "Module.symvers").read_text(encoding="utf-8").splitlines()
        return {line.split("\t")[1] for line in lines}

    def include_options(self) -> list[str]:
        return [f"-I{getattr(self, whose) / path}" for whose, path in INCLUDES]


def header_packages(release: str) -> tuple[str, str]:
    """The packages with the headers of a release: common and own."""
    return f"linux-headers-{release.removesuffix('-cloud-amd64')}-common", f"linux-headers-{release}"


def build(source: Path, headers: Headers, out: Path, work: Path) -> None:
    """Make a module of one source; LabError where the compiler fails, or the kernel lacks a symbol.

    `work` is a directory for what is made on the way.  Headers of its own lie beside the source.
    """
    name = source.stem
    (work / "without-objtool.h").write_text(WITHOUT_OBJTOOL, encoding="ascii")
    given = [*OPTIONS, *headers.include_options(), f"-I{work}", f"-I{source.parent}"]
    given += [part for file in FORCED for part in ("-include", file)]
    given += [f'-D{macro}="{name}"' for macro in ("KBUILD_MODNAME", "KBUILD_BASENAME", "KBUILD_MODFILE")]
    given += [f"-D__KBUILD_MODNAME=kmod_{name}", as_in_the_tree(source.parents[1])]
    code, about = work / f"{name}.o", work / f"{name}.mod.o"
    about.with_suffix(".c").write_text(ABOUT, encoding="ascii")
    compile_with([*given, "-c", str(source), "-o", str(code)], source)
    compile_with([*given, "-c", str(about.with_suffix(".c")), "-o", str(about)], source)
    script = headers.own / "arch/x86/module.lds"
    compile_with([*LINKING, f"-Wl,-T,{script}", "-o", str(out), str(code), str(about)], source)
    lacking = sorted(elf.undefined(out.read_bytes()) - headers.exported)
    if lacking:
        raise LabError(f"{source.name}: the kernel does not export {', '.join(lacking)} to modules")


def as_in_the_tree(root: Path) -> str:
    """The option that has sources below `root` named as in the kernel's own reports."""
    return f"-fmacro-prefix-map={root}/="


def compile_with(options: Sequence[str], source: Path) -> None:
    """Run the C compiler; LabError with the first of its errors."""
    command = [*host.compiler(), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}: apt install gcc libc6-dev, or set CC") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise LabError(f"{command[0]} cannot build {source.name}: {errors[0].strip()}: set CC to a newer gcc")
