"""What lies in a model's folder: files of its own, though by links of a Hugging Face cache."""

from pathlib import Path


def lies_in(folder: Path, path: Path) -> bool:
    """A link may stay in the folder, or lead to the blobs of its own Hugging Face cache entry."""
    target, root = path.resolve(), folder.resolve()
    if target.is_relative_to(root):
        return True
    cached = root.parent.name == "snapshots"
    return cached and target.parent == root.parent.parent / "blobs"
