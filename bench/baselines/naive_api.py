"""The app that tutorials write: FastAPI, a SQLModel session for each request, and stock arq's `enqueue_job`.

No authentication, no idempotency, no retries, no webhooks; a job can be lost between the commit and the enqueue.
`python -m bench.baselines.naive_api PORT` with DATABASE_URL and REDIS_URL.
"""

import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import JSON, DateTime
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

engine = create_async_engine(os.environ.get("DATABASE_URL", "postgresql+asyncpg://"))


class NaiveJob(SQLModel, table=True):
    __tablename__ = "naive_jobs"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    status: str = "queued"
    model: str
    input: str
    params: dict[str, Any] = Field(default={}, sa_type=JSON)
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=DateTime(timezone=True))


class JobCreate(BaseModel):
    model: str
    input: str
    params: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.tables["naive_jobs"].create, checkfirst=True)
    app.state.queue = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    yield
    await app.state.queue.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


def get_queue(request: Request) -> ArqRedis:
    queue: ArqRedis = request.app.state.queue
    return queue


SessionDep = Annotated[AsyncSession, Depends(get_session)]


@app.post("/jobs", status_code=202)
async def create_job(body: JobCreate, session: SessionDep, queue: Annotated[ArqRedis, Depends(get_queue)]) -> NaiveJob:
    job = NaiveJob(**body.model_dump())
    session.add(job)
    await session.commit()
    await session.refresh(job)
    await queue.enqueue_job("run_job", str(job.id))
    return job


@app.get("/jobs/{job_id}")
async def get_job(job_id: uuid.UUID, session: SessionDep) -> NaiveJob:
    job = await session.get(NaiveJob, job_id)
    if job is None:
        raise HTTPException(404)
    return job


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
