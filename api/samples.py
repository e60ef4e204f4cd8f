"""One example of every body, by the name of its schema. A test reads each as what it is."""

from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]

DIGITS_ID = "0199c2a4-5d1e-7c3f-9a41-2f6d0b8c7e15"
LETTERS_ID = "0199c2a1-11c0-7b92-8d07-63a5e1f0c9d2"
JOB_ID = "0199c2b0-77aa-7d10-b6c3-0e54a9f3d8b1"
SEARCH_ID = "0199c2b0-77a9-7f62-a1e8-94c7d2b05f3a"
MODEL_ID = "0199c2f3-c08d-7a5b-8e12-5b7f3d96a04c"
SUPERNET_ID = "0199c290-3b6e-7e84-9c55-d1a8f7403be6"
PRUNING_ID = "0199c2f5-6a1e-7d34-9b07-c2e85f30a6d1"
UPLOAD_ID = "0199c2a3-e4f7-7216-b0d9-8c1e5a72f493"
WEBHOOK_ID = "0199c2a0-6d3b-7e15-8f42-1b9c5d7e3a60"
DELIVERY_ID = "0199c2f4-02ab-7c61-9d37-64e8f1a05b29"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
AT = "2026-03-02T09:15:42.318000Z"
LATER = "2026-03-02T09:41:07.902000Z"


def _page(item: Json) -> Json:
    return {"items": [item], "next_page_token": None}


DATASET: Final[Json] = {
    "id": DIGITS_ID,
    "sha256": SHA256,
    "name": "digits",
    "classes": ["four", "nine"],
    "train_counts": [145, 144],
    "test_counts": [36, 36],
    "n_train": 289,
    "n_test": 72,
    "channels": 1,
    "created_at": AT,
    "statistics_only": False,
    "licence": "CC-BY-4.0",
    "source": "scanned forms",
    "parent_id": None,
    "version": 1,
    "size_bytes": 183_204,
}
OPTIONS: Final[Json] = {
    "seed": 0,
    "test_share": 0.2,
    "group": None,
    "unreadable_share": None,
    "label": None,
}
FINDING: Final[Json] = {
    "severity": "error",
    "code": "bad_image",
    "place": "nine/0107.png",
    "message": "The image is cut short.",
    "also": [],
    "fix": "Open the file in a viewer and export it again as PNG or JPEG, or remove it.",
}
REPORT: Final[Json] = {
    "problems": [FINDING],
    "images_seen": 362,
    "images_kept": 361,
    "exact_duplicates": 0,
    "split": "stratified",
    "split_seed": 0,
    "modes": {"L": 361},
    "sizes": {"16x16": 361},
    "groups": 0,
    "near_duplicates": 0,
    "imbalance": 1.01,
    "findings": {"bad_image": 1},
    "options": OPTIONS,
}
VERSION: Final[Json] = {
    "id": DIGITS_ID,
    "version": 1,
    "parent_id": None,
    "name": "digits",
    "sha256": SHA256,
    "licence": "CC-BY-4.0",
    "source": "scanned forms",
    "n_train": 289,
    "n_test": 72,
    "statistics_only": False,
    "created_at": AT,
    "deleted_at": None,
}
IMAGE: Final[Json] = {
    "sha256": SHA256,
    "path": "nine/0012.png",
    "label": "nine",
    "split": "train",
}
DIFFERENCE: Final[Json] = {
    "dataset_id": DIGITS_ID,
    "against": LETTERS_ID,
    "unchanged": 360,
    "added": {"total": 1, "first": [IMAGE]},
    "removed": {"total": 0, "first": []},
    "relabelled": {"total": 0, "first": []},
    "resplit": {"total": 0, "first": []},
    "classes_added": [],
    "classes_removed": [],
    "classes": [{"label": "nine", "before": [144, 36], "after": [145, 36]}],
}
JOB: Final[Json] = {
    "id": JOB_ID,
    "kind": "search",
    "queue": "gpu",
    "state": "running",
    "stage": "search",
    "progress": 0.42,
    "eta_seconds": 380.0,
    "attempt": 1,
    "max_attempts": 3,
    "fence": 1,
    "cancel_requested": False,
    "spec": {"dataset_id": DIGITS_ID, "policy": "race"},
    "result": None,
    "error_code": None,
    "error_message": None,
    "resume_reason": None,
    "cost_seconds": 275.4,
    "dataset_id": DIGITS_ID,
    "parent_id": None,
    "priority": 0,
    "created_at": AT,
    "started_at": AT,
    "finished_at": None,
    "poll_after_ms": 1_000,
    "children": None,
}
EMBEDDING: Final[Json] = JOB | {
    "kind": "embed",
    "queue": "cpu",
    "state": "succeeded",
    "stage": "",
    "progress": 1.0,
    "eta_seconds": None,
    "spec": {"dataset_id": DIGITS_ID, "embedder": "oriented-energy@1"},
    "result": {"dataset_id": DIGITS_ID, "embedder": "oriented-energy@1"},
    "cost_seconds": 3.1,
    "finished_at": LATER,
    "poll_after_ms": None,
}
RECORD: Final[Json] = {
    "stage": "search",
    "step": 3,
    "values": {"train_accuracy": 0.91, "valid_accuracy": 0.88, "seconds": 12.7},
}
LOG_LINE: Final[Json] = {
    "fence": 1,
    "number": 4,
    "at": AT,
    "level": "info",
    "message": "Stage search:0.",
}
EVENT: Final[Json] = {
    "seq": 2,
    "at": AT,
    "from_state": "queued",
    "to_state": "running",
    "fence": 1,
    "actor": "worker-1",
    "reason": "claimed",
}
EVIDENCE: Final[Json] = {
    "dataset_id": LETTERS_ID,
    "dataset_name": "letters",
    "supernet_id": SUPERNET_ID,
    "distance": 3.27,
    "interval": [3.11, 3.44],
    "tied_with_nearest": False,
    "features_part": 6.9,
    "labels_part": 3.8,
    "measure": "samples",
    "samples": [289, 2_000],
    "hub_share": None,
    "scaled": None,
    "proven": True,
    "pairs": [
        {
            "target_image": 17,
            "source_image": 1_204,
            "target_class": "nine",
            "source_class": "g",
            "mass": 0.0034,
            "target_href": f"/v1/datasets/{DIGITS_ID}/images/17.png",
            "source_href": f"/v1/datasets/{LETTERS_ID}/images/1204.png",
        }
    ],
    "deleted": False,
}
RANKING: Final[Json] = {
    "dataset_id": DIGITS_ID,
    "embedder": "oriented-energy@1",
    "sources": 212,
    "ranked": 10,
    "proven": 1,
    "exactness": "exact",
    "verdict": {
        "nearness": "near",
        "nearest": 3.27,
        "threshold": 5.9,
        "share": 0.71,
        "references": 211,
    },
    "neighbours": [EVIDENCE | {"coupling": [["nine", "g", 0.31]], "coupling_entries": 12}],
    "seconds": 4.2,
    "settings": {"k": 10, "supernets_only": False},
}
NEIGHBOUR: Final[Json] = EVIDENCE | {
    "target_id": DIGITS_ID,
    "embedder": "oriented-energy@1",
    "place": 1,
    "coupling": {
        "target_classes": ["four", "nine"],
        "source_classes": ["g", "h"],
        "mass": [[0.04, 0.46], [0.31, 0.19]],
    },
}
MAP: Final[Json] = {
    "dataset_id": DIGITS_ID,
    "embedder": "oriented-energy@1",
    "measure": "classes",
    "stress": 0.08,
    "points": [
        {
            "dataset_id": DIGITS_ID,
            "name": "digits",
            "x": 0.0,
            "y": 0.0,
            "is_target": True,
            "deleted": False,
        }
    ],
}
SPACE: Final[Json] = {"channels": 8, "layers": 4, "nodes": 4, "cells": "darts"}
SUPERNET: Final[Json] = {
    "id": SUPERNET_ID,
    "name": "letters",
    "dataset_id": LETTERS_ID,
    "job_id": JOB_ID,
    "space": SPACE,
    "resolution": 32,
    "sha256": SHA256,
    "metrics": {"valid_accuracy": 0.94},
    "seconds": 1_432.0,
    "lineage": {
        "kind": "dataset",
        "datasets": [{"name": "letters", "sha256": SHA256, "classes": 26, "images": 20_800}],
        "parents": [],
        "training": {"seconds": 1_432.0, "settings": {"epochs": 20, "learning_rate": 0.05}},
    },
    "created_at": AT,
}
SEARCH: Final[Json] = {
    "id": SEARCH_ID,
    "dataset_id": DIGITS_ID,
    "job_id": JOB_ID,
    "spec": {"dataset_id": DIGITS_ID, "policy": "race"},
    "ranking": None,
    "start": None,
    "model_id": None,
    "created_at": AT,
}
MODEL: Final[Json] = {
    "id": MODEL_ID,
    "search_id": SEARCH_ID,
    "dataset_id": DIGITS_ID,
    "genotype": {
        "normal": [[["sep_conv_3x3", 0], ["skip_connect", 1]]],
        "reduction": [[["max_pool_3x3", 0], ["sep_conv_3x3", 1]]],
        "cells": "darts",
    },
    "metrics": {"retrained": {"test_accuracy": 0.97}, "parameters": 48_211},
    "artifacts": [
        {
            "name": "model.onnx",
            "sha256": SHA256,
            "size": 212_480,
            "media_type": "application/octet-stream",
            "href": f"/v1/models/{MODEL_ID}/artifacts/model.onnx",
        }
    ],
    "manifest_sha256": SHA256,
    "created_at": LATER,
}
PRUNING: Final[Json] = {
    "id": PRUNING_ID,
    "dataset_id": DIGITS_ID,
    "job_id": JOB_ID,
    "spec": {"dataset_id": DIGITS_ID, "architecture": "resnet18", "share": 0.5},
    "mask": {"body.conv1": [1, 0, 1, 1]},
    "metrics": {"test_accuracy": 0.96, "parameters": 5_588_226, "kept": 0.4999},
    "artifacts": [
        {
            "name": "mask.json",
            "sha256": SHA256,
            "size": 8_412,
            "media_type": "application/json",
            "href": f"/v1/prunings/{PRUNING_ID}/artifacts/mask.json",
        }
    ],
    "manifest_sha256": SHA256,
    "created_at": AT,
}
EMBEDDER: Final[Json] = {
    "identifier": "oriented-energy@1",
    "name": "oriented-energy",
    "version": "1",
    "summary": "Oriented energies at three scales; needs no weights.",
    "default": True,
    "supernet_id": None,
}
UPLOAD: Final[Json] = {
    "id": UPLOAD_ID,
    "name": "digits.zip",
    "length": 183_204,
    "received": 65_536,
    "sha256": None,
    "state": "open",
    "created_at": AT,
    "expires_at": LATER,
}
PRESIGNED: Final[Json] = {
    "upload_id": UPLOAD_ID,
    "url": "https://store.example.com/headstart",
    "fields": {"key": f"default/incoming/{UPLOAD_ID}", "policy": "eyJleHBpcmF0aW9uIjoi"},
    "expires_at": LATER,
}
WEBHOOK: Final[Json] = {
    "id": WEBHOOK_ID,
    "url": "https://hooks.example.com/headstart",
    "description": "the nightly pipeline",
    "events": ["search.failed", "search.succeeded"],
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "old_secret_until": None,
    "created_at": AT,
}
DELIVERY: Final[Json] = {
    "id": DELIVERY_ID,
    "webhook_id": WEBHOOK_ID,
    "message_id": "msg_5f0c3b7a9d1e4c2f8a6b7c8d9e0f1a2b",
    "event": "search.succeeded",
    "state": "delivered",
    "attempts": [{"at": LATER, "seconds": 0.182, "status": 204, "fault": None}],
    "created_at": LATER,
    "due_at": None,
    "finished_at": LATER,
}
WHOLE_DELIVERY: Final[Json] = DELIVERY | {
    "payload": {
        "type": "search.succeeded",
        "timestamp": LATER,
        "data": {
            "id": SEARCH_ID,
            "state": "succeeded",
            "job_id": JOB_ID,
            "dataset_id": DIGITS_ID,
            "error_code": None,
            "error_message": None,
            "result": {"search_id": SEARCH_ID, "model_id": MODEL_ID},
            "links": {"self": f"/v1/searches/{SEARCH_ID}"},
        },
    },
}
S3: Final[Json] = {
    "uri": "s3://images/digits.zip",
    "endpoint": "https://s3.eu-central-1.amazonaws.com",
    "region": "eu-central-1",
    "access_key": "YOUR-ACCESS-KEY",
    "secret_key": "YOUR-SECRET-KEY",
}
KEY: Final[Json] = {
    "id": "Ab3dE6gH",
    "name": "nightly training",
    "scope": "write",
    "created_at": AT,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": LATER,
}
AUDIT: Final[Json] = {
    "id": "0199c2f9-1a6d-7c02-8d4b-6e0f5a91c372",
    "created_at": AT,
    "actor": "Ab3dE6gH",
    "action": "jobs_cancel",
    "target": f"/v1/jobs/{JOB_ID}:cancel",
    "status": 202,
    "request_id": "5f0c2a9e61d84b7fa3c8d90e17b6425c",
    "address": "203.0.113.7",
}

ESTIMATE: Final[Json] = {
    "dataset_id": DIGITS_ID,
    "seconds": {"expected": 412.0, "low": 260.0, "high": 630.0},
    "gpu_seconds": {"expected": 0.0, "low": 0.0, "high": 0.0},
    "host_bytes": {"expected": 1.26e9, "low": 1.04e9, "high": 1.53e9},
    "gpu_bytes": {"expected": 0.0, "low": 0.0, "high": 0.0},
    "least_seconds": {"expected": 39.0, "low": 27.0, "high": 56.0},
    "saving": {
        "races": 9,
        "won": 8,
        "points": {"expected": 21.4, "low": 6.2, "high": 38.9},
        "seconds": {"expected": 120.0, "low": 41.0, "high": 199.0},
    },
    "trial": {
        "policy": "race",
        "starts": [
            {
                "supernet_id": SUPERNET_ID,
                "name": "letters",
                "dataset_name": "letters",
                "lead": None,
            },
            {"supernet_id": None, "name": "cold start", "dataset_name": None, "lead": None},
        ],
        "method": "darts",
        "space": SPACE,
        "resolution": 32,
        "batch_size": 64,
        "steps_per_epoch": 3,
        "learning_rates": [0.1],
        "epochs": 20,
        "retrain_epochs": 20,
        "selection": "magnitude",
    },
    "basis": {"searches": 12, "device": "cpu", "model": "finished searches"},
}
TENSOR: Final[Json] = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}

SAMPLES: Final[Mapping[str, Json]] = {
    "AuditPage": _page(AUDIT),
    "DatasetPage": _page(DATASET),
    "DatasetView": DATASET,
    "DeliveryPage": _page(DELIVERY),
    "DifferenceView": DIFFERENCE,
    "EmbedderBody": {"embedder": "oriented-energy@1"},
    "EmbedderPage": _page(EMBEDDER),
    "EventPage": _page(EVENT),
    "FullDatasetView": DATASET | {"report": REPORT},
    "HealthView": {"status": "ok"},
    "InferenceBody": {
        "id": "42",
        "inputs": [
            {"name": "images", "shape": [1, 1, 2, 2], "datatype": "FP32", "data": [0, 0.5, 1, 0.5]}
        ],
        "outputs": [{"name": "probabilities"}],
    },
    "InferenceView": {
        "model_name": MODEL_ID,
        "id": "42",
        "outputs": [
            {
                "name": "probabilities",
                "shape": [1, 2],
                "datatype": "FP32",
                "parameters": {},
                "data": [0.875, 0.125],
            }
        ],
    },
    "IngestBody": {"uploads": [UPLOAD_ID], "name": "digits"},
    "JobPage": _page(JOB),
    "JobView": JOB,
    "KeyBody": {"name": "nightly training", "scope": "write", "expires_in_seconds": 7_776_000},
    "KeyPage": _page(KEY),
    "KeyView": KEY,
    "NewKeyView": KEY | {"last_used_at": None, "key": "hs_Ab3dE6gH_YOUR-SECRET_CHECK"},
    "MapView": MAP,
    "MeView": {
        "project_id": "0199c28e-90f4-7b15-a7c3-2d8e4f601b9a",
        "project": "vision",
        "key_id": "Ab3dE6gH",
        "scope": "write",
        "limits": {"active_jobs": 20, "stored_bytes": 2**40, "gpu_seconds": 86_400.0},
        "used": {"active_jobs": 2, "stored_bytes": 183_204, "gpu_seconds": 275.4},
    },
    "ModelMetadataView": {
        "name": MODEL_ID,
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 32, 32]}],
        "outputs": [TENSOR],
    },
    "ModelPage": _page(MODEL),
    "ModelReadyView": {"name": MODEL_ID, "ready": True},
    "ModelView": MODEL,
    "PredictionView": {
        "model_id": MODEL_ID,
        "classes": [
            {"name": "nine", "probability": 0.875},
            {"name": "four", "probability": 0.125},
        ],
        "neighbours": [
            {
                "name": "nine",
                "similarity": 0.9375,
                "href": f"/v1/datasets/{DIGITS_ID}/images/17.png",
            }
        ],
    },
    "NewSecretView": WEBHOOK | {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    "PresignBody": {"length": 183_204, "name": "digits.zip"},
    "PresignedView": PRESIGNED,
    "PretrainBody": {"dataset_id": LETTERS_ID, "name": "letters", "training": {"epochs": 20}},
    "PretrainEachBody": {"dataset_ids": [LETTERS_ID, DIGITS_ID], "training": {"epochs": 20}},
    "ImageBody": {"split": "train", "index": 12},
    "LeaveOutBody": {"images": [{"split": "train", "index": 12}]},
    "PruningBody": {"dataset_id": DIGITS_ID, "architecture": "resnet18", "share": 0.5},
    "PruningPage": _page(PRUNING),
    "PruningView": PRUNING,
    "RankBody": {"k": 5, "supernets_only": True},
    "RankingView": RANKING,
    "ReadinessView": {"status": "ok", "checks": {"database": "ok", "store": "ok", "queue": "ok"}},
    "LogLinePage": _page(LOG_LINE),
    "RecordPage": _page(RECORD),
    "ReportView": REPORT,
    "S3Body": S3,
    "AtMostBody": {"parameters": 50_000, "flops": None},
    "BudgetBody": {"seconds": 600.0, "gpu_seconds": None, "epochs": None},
    "SearchBody": {"dataset_id": DIGITS_ID, "training": {"epochs": 20, "seed": 0}},
    "CloneBody": {"training": {"seed": 1}, "labels": {"team": "forms"}},
    "ReplayBody": {
        "config": {
            "dataset_sha256": SHA256,
            "spec": {"dataset_id": DIGITS_ID, "embedder": "default@1"},
            "start": {"supernet_id": None, "learning_rates": [0.1]},
        }
    },
    "EstimateView": ESTIMATE,
    "SearchPage": _page(SEARCH),
    "SearchView": SEARCH,
    "ServerLiveView": {"live": True},
    "ServerMetadataView": {
        "name": "headstart",
        "version": "1.4.0",
        "extensions": ["binary_tensor_data"],
    },
    "ServerReadyView": {"ready": True},
    "SubmittedSearchView": SEARCH | {"job": JOB | {"state": "queued", "started_at": None}},
    "SubmittedPruningView": PRUNING
    | {
        "job": JOB | {"kind": "prune", "state": "queued", "started_at": None},
        "mask": None,
        "metrics": None,
        "artifacts": [],
        "manifest_sha256": None,
    },
    "SupernetPage": _page(SUPERNET),
    "SupernetView": SUPERNET,
    "UploadInPiecesPage": _page(UPLOAD),
    "UploadInPiecesView": UPLOAD,
    "UploadView": DATASET | {"report": REPORT, "embed_job": EMBEDDING},
    "VersionView": VERSION,
    "WebhookBody": {
        "url": "https://hooks.example.com/headstart",
        "events": ["search.failed", "search.succeeded"],
        "description": "the nightly pipeline",
    },
    "WebhookChangeBody": {"enabled": False},
    "WebhookPage": _page(WEBHOOK),
    "WebhookView": WEBHOOK,
    "WholeDeliveryView": WHOLE_DELIVERY,
    "WholeNeighbourView": NEIGHBOUR,
}
