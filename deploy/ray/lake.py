"""The output of `deploy.ray.score`: which files are in which shard, and which shards are done.

The list of files is written once, at the first start. Each shard of it becomes one Parquet file,
written beside its place and renamed, so that a shard is there whole or not at all, no matter who
was killed when. The same shard written twice is the same file. No engine is needed to see what is
left: it is what has no file.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.artifact.durable import replace_synced
from service.errors import StartError

FILES, MANIFEST, SUCCESS = "_files.parquet", "_manifest.json", "_SUCCESS"
"""Names that readers of Parquet folders skip."""
ERRORS = b"errors"
"""Key of a shard's own count in its metadata."""
COLUMNS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("probability", pa.float32()),
        pa.field("score", pa.float32()),
        pa.field("error", pa.string()),
    ]
)


class Lake:
    """An output folder whose list of files is written.

    Args:
        out: The folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.about: dict[str, Any] = json.loads((out / MANIFEST).read_bytes())

    @property
    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-self.about["files"] // self.about["shard_size"]))

    def part(self, shard: int) -> Path:
        """Name the file of a shard."""
        return self.out / f"part-{shard:06d}.parquet"

    def left(self) -> list[int]:
        """Number the shards that are still to be done."""
        there = {entry.name for entry in os.scandir(self.out)}
        return [shard for shard in self.shards if self.part(shard).name not in there]

    def files(self, shard: int) -> list[str]:
        """List the files of a shard, relative to the folder of images."""
        # a row group is a shard: no other part of the list is read
        table = pq.ParquetFile(self.out / FILES).read_row_group(shard)
        return [os.fsdecode(path) for path in table["path"].to_pylist()]

    def write(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a shard, whole or not at all."""
        table = pa.Table.from_pylist(list(rows), COLUMNS)
        errors = str(len(rows) - table["error"].null_count)
        replace_synced(self.part(shard), _parquet(table.replace_schema_metadata({ERRORS: errors})))

    def finish(self) -> dict[str, Any]:
        """Count all rows, and write them with the model's digest to _SUCCESS."""
        rows = errors = 0
        for shard in self.shards:
            metadata = pq.read_metadata(self.part(shard))
            rows += metadata.num_rows
            errors += int(metadata.metadata[ERRORS])
        for left in self.out.glob(".part-*.tmp"):  # of who was killed
            left.unlink(missing_ok=True)
        done = {**self.about, "rows": rows, "errors": errors}
        replace_synced(self.out / SUCCESS, _json(done))
        return done


def open_lake(out: Path, about: Mapping[str, Any], files: Iterator[str]) -> Lake:
    """Begin an output folder, or continue one.

    Args:
        out: The folder; made if it is not there.
        about: The model and options, as JSON values, `shard_size` among them.
        files: All images; read only if the folder is new.

    Raises:
        StartError: If the folder was started with another model or other options, or is not ours.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (out / MANIFEST).exists():
        if any(out.glob("part-*")):
            raise StartError(
                f"{out} has shards and no {MANIFEST}, so it is not known which model wrote them. "
                "Name another --out."
            )
        count = _write_files(out / FILES, files, about["shard_size"])
        replace_synced(out / MANIFEST, _json({**about, "files": count}))
    lake = Lake(out)
    changed = [name for name, value in about.items() if lake.about.get(name) != value]
    if changed:
        name = changed[0]
        raise StartError(
            f"{out} was started with {name} {lake.about.get(name)}; this is {name} {about[name]}. "
            "Use the same model and options to continue, or use another --out."
        )
    return lake


def _write_files(place: Path, files: Iterator[str], shard_size: int) -> int:
    """Write the list, a row group for each shard; paths may be any bytes."""
    temporary, count = place.with_name(f".{place.name}.tmp"), 0
    schema = pa.schema([pa.field("path", pa.binary(), nullable=False)])
    with pq.ParquetWriter(temporary, schema) as writer:
        while shard := [os.fsencode(file) for file in islice(files, shard_size)]:
            writer.write_table(pa.table({"path": shard}, schema), row_group_size=shard_size)
            count += len(shard)
    temporary.replace(place)
    return count


def _parquet(table: pa.Table) -> bytes:
    written = pa.BufferOutputStream()
    pq.write_table(table, written)
    content: bytes = written.getvalue().to_pybytes()
    return content


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
