"""What to do about a TFDS dataset that is not prepared: said in full, before any work.

ImageNet is not downloaded by TFDS: whoever uses it gets its archives from image-net.org.
"""

import pathlib

INFO_FILE = "dataset_info.json"
# Names as TFDS's builder looks for them, and what each becomes.
IMAGENET_ARCHIVES = {"ILSVRC2012_img_train.tar": "train", "ILSVRC2012_img_val.tar": "validation"}
_DEFAULT = "~/tensorflow_datasets"
_SOURCE = "https://image-net.org/download-images"


def explanation(dataset: str, name: str, data_dir: str) -> str:
    """One sentence that names the folder, what is missing and the exact command.

    Args:
      dataset: as asked for, such as `imagenet_v2/matched-frequency`.
      name: without configuration and version.
      data_dir: as asked for; "" for TFDS's own.
    """
    where = data_dir or _DEFAULT
    looked = f"No prepared {dataset!r} in {where!r} (looked for {name}/<version>/{INFO_FILE})"
    if hint := _misplaced(name, pathlib.Path(where).expanduser()):
        return f"{looked}; {hint}."
    if name == "imagenet2012":
        return f"{looked}; {_imagenet(where)}."
    return (
        f"{looked}; give --data_dir of a folder that holds it, or --download to let TFDS fetch it, once for "
        f"all, or run: {_command(dataset, where)}"
    )


def missing_archives(name: str, data_dir: str) -> bool:
    """Whether TFDS would ask for archives that are not there."""
    manual = _manual(data_dir or _DEFAULT)
    return name == "imagenet2012" and not any((manual / file).is_file() for file in IMAGENET_ARCHIVES)


def _imagenet(where: str) -> str:
    manual = _manual(where)
    missing = [file for file in IMAGENET_ARCHIVES if not (manual / file).is_file()]
    if not missing:
        return f"its archives lie in {str(manual)!r}, so prepare it, which takes hours once: " + (
            _command("imagenet2012", where)
        )
    needed = " and ".join(f"{file} (for the split {IMAGENET_ARCHIVES[file]!r})" for file in missing)
    return (
        f"put {needed} from {_SOURCE}, where one registers, into {str(manual)!r} and run once, for hours: "
        f"{_command('imagenet2012', where)} (evaluation alone needs the second archive only)"
    )


def _misplaced(name: str, folder: pathlib.Path) -> str:
    """What a folder is instead of one that holds prepared datasets; "" if it is nothing known."""
    if (folder / INFO_FILE).is_file() or any(folder.glob(f"*/{INFO_FILE}")):
        return f"the folder is itself a prepared dataset: give it as --dataset={str(folder)!r}"
    archives = [file for file in IMAGENET_ARCHIVES if (folder / file).is_file()]
    if name == "imagenet2012" and archives:
        manual = str(_manual(str(folder)))
        command = _command(name, str(folder))
        return f"{' and '.join(archives)} lie in that folder: move to {manual!r} and run once: {command}"
    if any(folder.glob("n[0-9]*")) or any(folder.glob("*/n[0-9]*")):
        return f"the folder holds class folders of images: give it as --dataset={str(folder)!r}"
    return ""


def _manual(where: str) -> pathlib.Path:
    """Where TFDS looks for archives that it does not fetch itself."""
    return pathlib.Path(where).expanduser() / "downloads" / "manual"


def _command(dataset: str, where: str) -> str:
    # Not `tfds build`, which asks for Apache Beam.
    folder = str(pathlib.Path(where).expanduser())
    return (
        'python -c "import tensorflow_datasets as tfds; '
        f'tfds.builder({dataset!r}, data_dir={folder!r}).download_and_prepare()"'
    )
