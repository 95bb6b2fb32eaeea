"""Numbers of TFLite's metadata schema: fields of its tables, and values of its enums.

As in metadata_schema.fbs, version 1.5.0, which only ever adds at the end:
https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
"""

NAME = "TFLITE_METADATA"  # of the entry in the model's own list of metadata
IDENTIFIER = b"M001"
# The oldest reader that knows all fields written here.
MIN_PARSER_VERSION = "1.0.0"

# ModelMetadata
MODEL_NAME, MODEL_DESCRIPTION, MODEL_VERSION, MODEL_SUBGRAPHS = 0, 1, 2, 3
MODEL_AUTHOR, MODEL_LICENSE, MODEL_FILES, MODEL_MIN_PARSER_VERSION = 4, 5, 6, 7
# SubGraphMetadata
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
# TensorMetadata
TENSOR_NAME, TENSOR_DESCRIPTION, TENSOR_CONTENT, TENSOR_PROCESS_UNITS = 0, 1, 3, 4
TENSOR_STATS, TENSOR_FILES = 5, 6
# Content, its union ContentProperties, and ImageProperties
CONTENT_TYPE, CONTENT_PROPERTIES = 0, 1
FEATURE_PROPERTIES, IMAGE_PROPERTIES = 1, 2
IMAGE_COLOR_SPACE, IMAGE_DEFAULT_SIZE = 0, 1
RGB = 1
SIZE_WIDTH, SIZE_HEIGHT = 0, 1
# ProcessUnit, and the first of its union ProcessUnitOptions
UNIT_TYPE, UNIT_OPTIONS = 0, 1
NORMALIZATION = 1
NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
# Stats
STATS_MAX, STATS_MIN = 0, 1
# AssociatedFile and its AssociatedFileType
FILE_NAME, FILE_DESCRIPTION, FILE_TYPE, FILE_LOCALE = 0, 1, 2, 3
UNKNOWN, AXIS_LABELS = 0, 2
