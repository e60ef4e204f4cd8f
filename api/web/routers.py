"""All pages under one router."""

from fastapi import APIRouter, Depends

from api.web import (
    dataset_pages,
    home_pages,
    job_pages,
    key_pages,
    login_pages,
    model_pages,
    operator_pages,
    pages,
    pruning_pages,
    registry_pages,
    report_pages,
    search_pages,
    version_pages,
    webhook_pages,
)

router = APIRouter(dependencies=[Depends(pages.place)])
PARTS = (
    home_pages,
    dataset_pages,
    search_pages,
    version_pages,
    registry_pages,
    report_pages,
    job_pages,
    model_pages,
    pruning_pages,
    operator_pages,
    key_pages,
    webhook_pages,
    login_pages,
)
for part in PARTS:
    router.include_router(part.router)
