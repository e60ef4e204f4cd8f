"""Every operation of the interface. Made by api/client_code.py; not to be edited."""

from typing import Final, NamedTuple


class Operation(NamedTuple):
    """Where to ask; whether an Idempotency-Key makes asking again safe; whether it is a list."""

    method: str
    path: str
    keyed: bool = False
    paged: bool = False


AUDIT_LIST: Final = Operation("GET", "/v1/audit", paged=True)
DATASETS_CLASS_EXAMPLES: Final = Operation(
    "GET", "/v1/datasets/{dataset_id}/examples/{class_index}.png"
)
DATASETS_DELETE: Final = Operation("DELETE", "/v1/datasets/{dataset_id}")
DATASETS_DIFF: Final = Operation("GET", "/v1/datasets/{dataset_id}/diff")
DATASETS_EMBED: Final = Operation("POST", "/v1/datasets/{dataset_id}:embed", keyed=True)
DATASETS_EXPORT: Final = Operation("GET", "/v1/datasets/{dataset_id}/export")
DATASETS_GET: Final = Operation("GET", "/v1/datasets/{dataset_id}")
DATASETS_IMAGE: Final = Operation("GET", "/v1/datasets/{dataset_id}/images/{index}.png")
DATASETS_INGEST: Final = Operation("POST", "/v1/datasets:ingest", keyed=True)
DATASETS_LEAVE_OUT: Final = Operation("POST", "/v1/datasets/{dataset_id}:leave-out", keyed=True)
DATASETS_LIST: Final = Operation("GET", "/v1/datasets", paged=True)
DATASETS_MAP: Final = Operation("GET", "/v1/datasets/{dataset_id}/map")
DATASETS_NEIGHBOUR: Final = Operation(
    "GET", "/v1/datasets/{dataset_id}/neighbours/{source_dataset_id}"
)
DATASETS_NEIGHBOURS: Final = Operation("GET", "/v1/datasets/{dataset_id}/neighbours")
DATASETS_PUT: Final = Operation("PUT", "/v1/datasets")
DATASETS_RANK: Final = Operation("POST", "/v1/datasets/{dataset_id}:rank", keyed=True)
DATASETS_REGISTER_STATISTICS: Final = Operation("POST", "/v1/datasets:statistics")
DATASETS_REPORT: Final = Operation("GET", "/v1/datasets/{dataset_id}/report")
DATASETS_UPLOAD: Final = Operation("POST", "/v1/datasets")
DATASETS_VERSIONS: Final = Operation("GET", "/v1/datasets/{dataset_id}/versions")
EMBEDDERS_LIST: Final = Operation("GET", "/v1/embedders", paged=True)
HEALTH_LIVE: Final = Operation("GET", "/healthz")
HEALTH_READY: Final = Operation("GET", "/readyz")
INFERENCE_INFER: Final = Operation("POST", "/v2/models/{model_id}/infer")
INFERENCE_LIVE: Final = Operation("GET", "/v2/health/live")
INFERENCE_MODEL: Final = Operation("GET", "/v2/models/{model_id}")
INFERENCE_MODEL_READY: Final = Operation("GET", "/v2/models/{model_id}/ready")
INFERENCE_PREDICT: Final = Operation("POST", "/v1/models/{model_id}:predict")
INFERENCE_READY: Final = Operation("GET", "/v2/health/ready")
INFERENCE_SERVER: Final = Operation("GET", "/v2")
JOBS_CANCEL: Final = Operation("POST", "/v1/jobs/{job_id}:cancel")
JOBS_EVENTS: Final = Operation("GET", "/v1/jobs/{job_id}/events", paged=True)
JOBS_GET: Final = Operation("GET", "/v1/jobs/{job_id}")
JOBS_LIST: Final = Operation("GET", "/v1/jobs", paged=True)
JOBS_LOGS: Final = Operation("GET", "/v1/jobs/{job_id}/logs", paged=True)
JOBS_RECORDS: Final = Operation("GET", "/v1/jobs/{job_id}/records", paged=True)
JOBS_STREAM: Final = Operation("GET", "/v1/jobs/{job_id}/stream")
KEYS_CREATE: Final = Operation("POST", "/v1/keys")
KEYS_LIST: Final = Operation("GET", "/v1/keys", paged=True)
KEYS_REVOKE: Final = Operation("POST", "/v1/keys/{key_id}:revoke")
ME_GET: Final = Operation("GET", "/v1/me")
MODELS_DOWNLOAD: Final = Operation("GET", "/v1/models/{model_id}/artifacts/{name}")
MODELS_GET: Final = Operation("GET", "/v1/models/{model_id}")
MODELS_LIST: Final = Operation("GET", "/v1/models", paged=True)
PRUNINGS_CREATE: Final = Operation("POST", "/v1/prunings", keyed=True)
PRUNINGS_DOWNLOAD: Final = Operation("GET", "/v1/prunings/{pruning_id}/artifacts/{name}")
PRUNINGS_GET: Final = Operation("GET", "/v1/prunings/{pruning_id}")
PRUNINGS_LIST: Final = Operation("GET", "/v1/prunings", paged=True)
SEARCHES_CLONE: Final = Operation("POST", "/v1/searches/{search_id}:clone", keyed=True)
SEARCHES_CREATE: Final = Operation("POST", "/v1/searches", keyed=True)
SEARCHES_ESTIMATE: Final = Operation("POST", "/v1/searches:estimate")
SEARCHES_GET: Final = Operation("GET", "/v1/searches/{search_id}")
SEARCHES_LIST: Final = Operation("GET", "/v1/searches", paged=True)
SEARCHES_REPLAY: Final = Operation("POST", "/v1/searches:replay", keyed=True)
SUPERNETS_BUNDLE: Final = Operation("GET", "/v1/supernets/{supernet_id}/bundle")
SUPERNETS_CREATE: Final = Operation("POST", "/v1/supernets", keyed=True)
SUPERNETS_GET: Final = Operation("GET", "/v1/supernets/{supernet_id}")
SUPERNETS_IMPORT: Final = Operation("POST", "/v1/supernets:import")
SUPERNETS_LIST: Final = Operation("GET", "/v1/supernets", paged=True)
SUPERNETS_PRETRAIN: Final = Operation("POST", "/v1/supernets:pretrain", keyed=True)
UPLOADS_APPEND: Final = Operation("PATCH", "/v1/uploads/{upload_id}")
UPLOADS_COMPLETE: Final = Operation("POST", "/v1/uploads/{upload_id}:complete")
UPLOADS_CREATE: Final = Operation("POST", "/v1/uploads")
UPLOADS_DELETE: Final = Operation("DELETE", "/v1/uploads/{upload_id}")
UPLOADS_FROM_S3: Final = Operation("POST", "/v1/uploads:s3")
UPLOADS_GET: Final = Operation("GET", "/v1/uploads/{upload_id}")
UPLOADS_HEAD: Final = Operation("HEAD", "/v1/uploads/{upload_id}")
UPLOADS_LIST: Final = Operation("GET", "/v1/uploads", paged=True)
UPLOADS_OPTIONS: Final = Operation("OPTIONS", "/v1/uploads")
UPLOADS_PRESIGN: Final = Operation("POST", "/v1/uploads:presign")
WEBHOOKS_CREATE: Final = Operation("POST", "/v1/webhooks")
WEBHOOKS_DELETE: Final = Operation("DELETE", "/v1/webhooks/{webhook_id}")
WEBHOOKS_DELIVERIES: Final = Operation("GET", "/v1/webhooks/{webhook_id}/deliveries", paged=True)
WEBHOOKS_DELIVERY: Final = Operation("GET", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}")
WEBHOOKS_GET: Final = Operation("GET", "/v1/webhooks/{webhook_id}")
WEBHOOKS_LIST: Final = Operation("GET", "/v1/webhooks", paged=True)
WEBHOOKS_REDELIVER: Final = Operation(
    "POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}:redeliver"
)
WEBHOOKS_ROTATE: Final = Operation("POST", "/v1/webhooks/{webhook_id}:rotate")
WEBHOOKS_TEST: Final = Operation("POST", "/v1/webhooks/{webhook_id}:test")
WEBHOOKS_UPDATE: Final = Operation("PATCH", "/v1/webhooks/{webhook_id}")
