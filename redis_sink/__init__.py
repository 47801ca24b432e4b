"""NATS JetStream -> Redis: one room for each step, no way back.

consumer -> plan (pure) -> dead_letter -> writer, with `applied` (pure) deciding where to
begin and `verdict` (pure) what a refusal of Redis means; `sink` is the loop around them.

The position lives in Redis and is written in the same MULTI as the data, so after any
happened to Redis (crash, failover, FLUSHALL, restored dump, a second sink), reading
it is where the sink resumes.  Never imports `cdc_reader`.
"""
