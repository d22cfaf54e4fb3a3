"""The compile helper: a process that turns LLVM text into object code.

It is run as a script, imports nothing of the framework, and speaks frames on stdin/stdout: requests are
(target triple, cpu, features, level, name, text), replies (ok, object or message). LLVM's own checks abort the
process: the parent sees the pipe close and reports the kernel.
"""
import struct
import sys


def _read(stream, n: int) -> bytes:
    data = stream.read(n)
    if len(data) < n:
        raise EOFError
    return data


def read_frame(stream) -> list[bytes]:
    """A frame: number of parts, their lengths, the parts."""
    (count,) = struct.unpack("<I", _read(stream, 4))
    sizes = struct.unpack(f"<{count}Q", _read(stream, 8 * count))
    return [_read(stream, n) for n in sizes]


def write_frame(stream, parts: list[bytes]) -> None:
    stream.write(struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def main() -> None:
    import llvmlite.binding as llvm
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    machines: dict[tuple, object] = {}
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            triple, cpu, features, jit, level, text = read_frame(source)
        except EOFError:
            return
        try:
            key = (triple, cpu, features, jit, level)
            machine = machines.get(key)
            if machine is None:
                target = llvm.Target.from_triple(triple.decode())
                machine = machines[key] = target.create_target_machine(
                    cpu=cpu.decode(), features=features.decode(), opt=int(level), jit=jit == b"1",
                    reloc="default" if jit == b"1" else "pic")
            module = llvm.parse_assembly(text.decode())
            module.triple = triple.decode()
            module.data_layout = str(machine.target_data)  # type: ignore[attr-defined]
            module.verify()
            write_frame(sink, [b"ok", machine.emit_object(module)])  # type: ignore[attr-defined]
        except RuntimeError as error:
            write_frame(sink, [b"error", str(error).encode()])


if __name__ == "__main__":
    main()
