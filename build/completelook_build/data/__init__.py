"""Shop-the-look data: where it lies, its pairs, crops and splits, and fetching its pictures."""

from completelook_build.data.crop import CROP_SIDES, WHOLE_SCENE, Box, Crop
from completelook_build.data.dataset import Dataset
from completelook_build.data.download import DownloadReport, download_pictures, list_path
from completelook_build.data.pairs import Pair, PairData, describe_dropped, read_boxes
from completelook_build.data.picture_host import RateLimit, is_host
from completelook_build.data.relighting import in_other_light, relight
from completelook_build.data.splits import SPLITS, split_of
from completelook_build.data.stats import Counts, DataDescription, describe, print_tables

__all__ = [
    "CROP_SIDES",
    "SPLITS",
    "WHOLE_SCENE",
    "Box",
    "Counts",
    "Crop",
    "DataDescription",
    "Dataset",
    "DownloadReport",
    "Pair",
    "PairData",
    "RateLimit",
    "describe",
    "describe_dropped",
    "download_pictures",
    "in_other_light",
    "is_host",
    "list_path",
    "print_tables",
    "read_boxes",
    "relight",
    "split_of",
]
