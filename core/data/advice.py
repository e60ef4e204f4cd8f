"""What to do about what intake finds, by its code."""

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "bad_image": "Open the file in a viewer and export it again as PNG or JPEG, or remove it.",
    "chosen_out": "Nothing: it is still in the version that this one came of.",
    "class_lost": "See what is said of its files, repair them, or remove the class.",
    "class_without_test": "Move some of its images to the test folder, or let the split be drawn.",
    "class_without_train": "Move some of its images to the train folder, or remove the class.",
    "conflicting_labels": "Keep the picture in the one class that it shows.",
    "duplicate_row": "Remove one of the two rows.",
    "empty_class": "Add its images, or remove the folder.",
    "empty_table": "Nothing, if folders say the classes.",
    "duplicate": "Remove the copy, unless pictures may count twice.",
    "group_straddles": "Move the group to one side, or leave the test folder out: a split that is "
    "drawn keeps groups together.",
    "ignored_files": "Nothing: they hold no images of yours.",
    "image_animated": "Export the frame that matters, if it is not the first.",
    "image_cmyk": "Nothing, unless the colours matter exactly: convert them to RGB yourself then.",
    "image_deep": "Nothing, unless the finest shades matter: scale their range yourself then.",
    "image_metadata": "Nothing: only the pixels are used.",
    "image_rotated": "Nothing: they are seen as a viewer shows them.",
    "image_too_large": "Scale it down, or cut it into tiles.",
    "image_transparent": "Nothing, if they look right on white.",
    "imbalanced": "Add images to the smallest classes, and look at their own accuracies.",
    "leaked_test_image": "Nothing, or take it out of the train folder to test with it.",
    "missing_file": "Add the file, or remove its row.",
    "near_conflict": "Look at both: one may be in the wrong class.",
    "near_duplicate": "Remove one, if they are the same picture saved twice.",
    "near_leak": "Move both to one side of the split: the test would be too easy. Naming groups "
    "keeps such images together.",
    "no_file_name_column": "Nothing, if folders say the classes; else call the column file_name.",
    "no_image_bytes": "Write the images' bytes into the file, or remove the row.",
    "no_label_column": "Nothing, if folders say the classes; else name the column by `label`.",
    "no_class": "Move it into the folder of its class, or remove it.",
    "no_label": "Give it a class in the table, or remove its line.",
    "not_an_image": "Nothing, unless it was meant as one: export it as PNG or JPEG then.",
    "outside_split": "Move it to the train or the test folder.",
    "similar_classes": "Give both one name if they are one class.",
    "single_image": "Add images: it can be learnt, but never tested.",
    "statistics_only": "Nothing: it was registered without its images.",
    "test_redrawn": "Remove the copies of train images from the test folder, and add others.",
    "validation_folder": "Nothing, if that is meant.",
}

# What is told and asks for nothing.
HARMLESS = frozenset(
    {
        "chosen_out",
        "empty_table",
        "ignored_files",
        "image_animated",
        "image_cmyk",
        "image_deep",
        "image_metadata",
        "image_rotated",
        "image_transparent",
        "not_an_image",
        "statistics_only",
        "validation_folder",
    }
)


def about(code: str) -> str:
    """What to do, in a sentence; empty for a code that nothing is said of."""
    return ADVICE.get(code, "")
