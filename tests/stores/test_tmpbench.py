import asyncio, time, statistics
import pytest
from core.db.session import hot_transaction
from core.jobs import store
from tests.support import jobs

A = store.statement("called")
B = """
WITH run AS (
    SELECT attempt.job_id, attempt.tenant_id, attempt.run_no
    FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS run (job_id, tenant_id, run_no)
    JOIN attempts AS attempt USING (job_id, tenant_id, run_no)
    WHERE attempt.outcome = 'running'
    ORDER BY attempt.job_id
    FOR UPDATE OF attempt
)
UPDATE attempts AS attempt
SET called_at = now(), billed = 'maybe'
FROM run
WHERE attempt.job_id = run.job_id AND attempt.tenant_id = run.tenant_id AND attempt.run_no = run.run_no
RETURNING attempt.job_id, attempt.run_no
"""
async def test_bench(fleet, tenant):
    for rnd in range(2):
      for name, sql in (("A", A), ("B", B), ("A", A), ("B", B)):
        times = []
        for _ in range(15):
            async with hot_transaction(fleet, None) as c:
                new = [jobs.new_job(tenant.id) for _ in range(200)]
                await store.insert(c, new, key_seconds=1)
                claimed = await jobs.claim(c, [n.id for n in new])
            runs = [(each.id, each.tenant_id, each.run_no) for each in claimed]
            async with hot_transaction(fleet, None) as c:
                await c.execute("SET LOCAL synchronous_commit = off")
                t = time.perf_counter()
                await c.fetch(sql, *store._columns(runs, 3))
                times.append(time.perf_counter() - t)
        print(name, round(statistics.median(times)*1e3, 2), "ms / 200")
