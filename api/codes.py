"""The catalogue of problem codes: what each is answered with, and what it means.

Clients act on codes, so one is never renamed, nor given another status.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple


class Code(NamedTuple):
    """The HTTP status, and one sentence."""

    status: int
    sentence: str


# What an archive is refused with, while the caller waits or as its job's `error_code`: that of its
# first finding; `errors` hold them all.
ARCHIVE_CODES: Final[Mapping[str, Code]] = {
    "archive_too_large": Code(413, "The archive, or what it unpacks to, passes a limit."),
    "too_many_files": Code(413, "The archive holds more files than are taken."),
    "too_many_classes": Code(413, "The archive has more classes than are taken."),
    "too_many_archives": Code(422, "More archives than are read together."),
    "bad_archive": Code(422, "The archive cannot be taken."),
    "bad_options": Code(422, "The options of the upload cannot be followed."),
    "bad_parquet": Code(422, "The Parquet file cannot be read as images."),
    "corrupt_archive": Code(422, "The archive is damaged."),
    "unreadable_archive": Code(422, "Reading the archive took more than it is given, or broke."),
    "unsupported_archive": Code(422, "The file is no archive of a kind that is read."),
    "archive_overlap": Code(422, "Members of the archive share bytes."),
    "unsafe_member": Code(422, "A member is no plain file, or is marked set-user-id."),
    "unsafe_path": Code(422, "A member's name leads out of its folder."),
    "bad_name": Code(422, "A member's name cannot be a file's."),
    "duplicate_name": Code(422, "Two members have one name."),
    "nested_archive": Code(422, "An archive lies in the archive."),
    "bad_image": Code(422, "An image cannot be read."),
    "image_too_large": Code(422, "An image has more pixels than are taken."),
    "bad_encoding": Code(422, "A table's text is not UTF-8."),
    "bad_label": Code(422, "A class cannot be called so."),
    "bad_table": Code(422, "A table cannot be read."),
    "contradicting_rows": Code(422, "Rows of a table say different things of one file."),
    "duplicate_column": Code(422, "Two columns of a table have one name."),
    "missing_file": Code(422, "A table names a file that is not there."),
    "no_file_name": Code(422, "A row of a table names no file."),
    "no_image_bytes": Code(422, "A row of the table holds no image."),
    "no_image_column": Code(422, "The table has no column of images."),
    "no_label_column": Code(422, "The table has no column of classes."),
    "ragged_row": Code(422, "A row of a table has more or fewer fields than its head."),
    "several_images": Code(422, "A sample has more than one image."),
    "no_groups": Code(422, "There is no column of the name that `group` gives."),
    "class_without_train": Code(422, "A class has test images alone."),
    "empty_dataset": Code(422, "There are no images in class folders."),
    "only_splits": Code(422, "The folders say the splits and no classes."),
    "too_few_classes": Code(422, "There are fewer than two classes."),
    "mostly_left_out": Code(422, "Most of the files could not be taken."),
}
CODES: Final[Mapping[str, Code]] = {
    # What can be wrong with any request.
    "bad_request": Code(400, "The request could not be read as HTTP."),
    "malformed_json": Code(400, "The body is not JSON."),
    "malformed_multipart": Code(400, "The form's body is cut off or badly divided."),
    "incomplete_body": Code(400, "The body is shorter than was announced."),
    "unknown_host": Code(400, "The Host header names another machine than this service."),
    "cross_site": Code(403, "A page of another site sent the request, so nothing was done."),
    "not_found": Code(404, "There is nothing of that id or at that address."),
    "method_not_allowed": Code(405, "The address takes other methods: see Allow."),
    "not_acceptable": Code(406, "The answer comes in no form that Accept allows."),
    "conflict": Code(409, "The thing is not in a state that allows this."),
    "gone": Code(410, "It was deleted, or its time is over."),
    "precondition_failed": Code(412, "What a header demands of the thing is not so."),
    "too_large": Code(413, "The body is larger than the address accepts."),
    "unsupported_media_type": Code(415, "The body's Content-Type is none that the address takes."),
    "validation_error": Code(422, "Parameters or fields do not have the documented form."),
    "invalid_input": Code(422, "The request is well-formed and cannot be accepted: see `errors`."),
    "internal": Code(500, "A fault of the service; its log has the details."),
    "corrupt_object": Code(500, "Stored bytes are not those that were stored."),
    "unavailable": Code(503, "Database, store or queue do not answer now."),
    "busy": Code(503, "As many of these as the service does at once are under way."),
    "storage_full": Code(507, "The service has no room for the body now."),
    # Asking twice.
    "idempotency_key_in_flight": Code(409, "The first request of this key is still worked on."),
    "idempotency_key_reused": Code(422, "Another request came under this key before."),
    # Jobs.
    "illegal_transition": Code(409, "The job has ended, or cannot move so from its state."),
    "cancel_requested": Code(409, "The job is being cancelled, so it cannot succeed."),
    "bad_event_id": Code(422, "Last-Event-ID is no id that the job's stream has given."),
    "lease_lost": Code(409, "Another worker holds the job now."),
    "deleted_meanwhile": Code(409, "A dataset was deleted while it was read: ask again."),
    "diverged": Code(422, "The training's loss became infinite or undefined."),
    "bad_features": Code(422, "The embedder made numbers of an image that are not finite."),
    "onnx_mismatch": Code(500, "The exported model does not compute what the trained one does."),
    # Datasets and what is told of them.
    "dataset_deleted": Code(410, "The dataset was deleted."),
    "dataset_in_use": Code(409, "Jobs that name the dataset have not ended."),
    "statistics_only": Code(409, "The dataset was registered without its images."),
    "unknown_class": Code(404, "The dataset has no class of that number."),
    "unknown_image": Code(404, "The dataset has no train image at that place."),
    "not_ranked": Code(404, "The dataset has not been ranked yet."),
    "not_a_neighbour": Code(404, "The stored ranking does not list that dataset."),
    "no_map": Code(404, "The stored ranking came without a map."),
    "unknown_embedder": Code(422, "There is no such embedder here."),
    "source_deleted": Code(422, "The embedder's source was deleted."),
    "bad_bundle": Code(422, "The file is no supernet that can be taken: see `errors`."),
    "bundle_too_large": Code(413, "The file is larger than any supernet."),
    "bad_statistics": Code(422, "The file holds no class statistics: see `errors`."),
    "statistics_file_too_large": Code(413, "The file is larger than any class statistics."),
    "wrong_dimension": Code(422, "The statistics have another dimension than their embedder."),
    # Uploads.
    "empty_body": Code(422, "The body is empty."),
    "invalid_digest": Code(422, "Content-Digest is not a SHA-256 as RFC 9530 spells it."),
    "digest_mismatch": Code(422, "The bytes do not have the SHA-256 that was said."),
    "invalid_header": Code(422, "A header of the upload does not have its documented form."),
    "unsupported_version": Code(412, "Tus-Resumable names another version than 1.0.0."),
    "checksum_mismatch": Code(460, "The bytes do not match Upload-Checksum; none was kept."),
    "upload_busy": Code(423, "Another request works on the upload now."),
    "upload_complete": Code(409, "The upload has all of its bytes."),
    "upload_incomplete": Code(409, "The upload lacks bytes still."),
    "wrong_offset": Code(409, "Upload-Offset is not where the upload stands: ask HEAD."),
    "upload_expired": Code(410, "The upload was not finished in time."),
    "too_many_parts": Code(413, "The upload came in more pieces than are kept."),
    "quota_exceeded": Code(413, "Datasets and uploads would take more room than is set."),
    "too_many_uploads": Code(429, "As many uploads as may be are under way: end or delete some."),
    "not_supported": Code(409, "The service keeps its files where this cannot be done."),
    "size_mismatch": Code(422, "The file does not have the size that was said."),
    "empty_object": Code(422, "The object is empty."),
    "invalid_s3_uri": Code(422, "The object is not named as s3://BUCKET/KEY."),
    "url_not_allowed": Code(422, "The operator does not let the service reach that endpoint."),
    "fetch_failed": Code(503, "The endpoint does not deliver now."),
    "s3_access_denied": Code(422, "The endpoint refuses these credentials."),
    "s3_not_found": Code(422, "The endpoint has no such bucket or object."),
    "s3_object_changed": Code(422, "The object was replaced while it was read."),
    "s3_refused": Code(422, "The endpoint refuses to hand out the object."),
    "s3_bad_answer": Code(422, "What answers at the endpoint does not speak S3."),
    "invalid_key": Code(422, "A stored file cannot be named so."),
    **ARCHIVE_CODES,
}
# What ends a job beside these.
JOB_CODES: Final[Mapping[str, str]] = {
    "children_failed": "A job of the group has failed.",
    "device_fault": "The accelerator stopped working under the job.",
    "device_lost": "The accelerator was lost under the job.",
    "drained": "The worker was told to leave.",
    "gpu_oom": "The GPU ran out of memory, with half the batch too.",
    "host_oom": "The machine ran out of memory.",
    "out_of_memory": "The work needed more memory than there is.",
    "stalled": "The work gave no sign of life for too long.",
    "worker_lost": "The computing process was lost.",
}
