"""All pages under one router."""

from fastapi import APIRouter

from api.web import dataset_pages, home_pages, job_pages, model_pages, version_pages

router = APIRouter()
for part in (home_pages, dataset_pages, version_pages, job_pages, model_pages):
    router.include_router(part.router)
