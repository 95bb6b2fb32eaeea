"""What the TFLite metadata of a file of ours says, composed from the model that it was made of."""

from typing import NamedTuple

from export import file_facts, labels, metadata_writer
from export.metadata_writer import AssociatedFile, FileMetadata
from nas_tf.network.model_folder import ModelDescription
from nas_tf.space.architecture import in_words

# How pixels become an input of each type, one step from their normalization.
INPUT_RULES = {
    "uint8": "the pixels as they are",
    "int8": "pixel - 128",
    "float32": "(pixel - 128) / 128",
}


class Origin(NamedTuple):
    """Who says that it is theirs; a `license` of "" is left out."""

    author: str
    version: str
    license: str


def embed(
    content: bytes, description: ModelDescription, names: tuple[str, ...], input_type: str, origin: Origin
) -> bytes:
    """The flatbuffer with metadata that names its labels and says how images are prepared.

    Args:
      content: the converted model.
      description: of the model that was converted.
      names: labels of the outputs, a background's included.
      input_type: of the file.
      origin: of the model.
    """
    said = _metadata(description, names, input_type, origin)
    return metadata_writer.embed(content, metadata_writer.build(said))


def _metadata(
    description: ModelDescription, names: tuple[str, ...], input_type: str, origin: Origin
) -> FileMetadata:
    facts = file_facts.facts_of(description)
    background = len(names) > description.num_classes or description.has_background
    return FileMetadata(
        name=description.architecture.name or "image classifier",
        description=(
            f"Image classifier of {len(names)} outputs"
            + (", output 0 a background that no image belongs to" if background else "")
            + f". Network: {in_words(description.architecture)}."
        ),
        version=origin.version,
        author=origin.author,
        license=origin.license,
        input_description=(
            f"RGB image, {facts.crop_size} by {facts.crop_size} pixels: the short side resized to "
            f"{facts.resize_size} ({facts.resize_method}), then the crop at the {facts.crop_place}. "
            f"As {input_type}: {INPUT_RULES[input_type]}."
        ),
        output_description=(
            "Logits of the classes. Probabilities are their softmax, of an integer output after "
            "dequantization."
        ),
        mean=facts.input_mean,
        std=facts.input_std,
        side=facts.crop_size,
        labels=_label_files(names),
        files=(
            AssociatedFile(
                file_facts.ENTRY, "How images are prepared: resize, crop and normalization (JSON)."
            ),
        ),
    )


def _label_files(names: tuple[str, ...]) -> tuple[AssociatedFile, ...]:
    own = AssociatedFile(labels.FILE_NAME, "The dataset's own names of the outputs.", is_labels=True)
    if not labels.words_of(names):
        return (own,)
    words = AssociatedFile(labels.WORDS_NAME, "WordNet's words for the outputs.", "en", is_labels=True)
    return own, words
