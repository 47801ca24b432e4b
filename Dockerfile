# cdc as a container: no state of its own, no root, no shell tools beyond the base.
# The whole image has the compiler that the hot path is built with.
FROM python:3.13 AS build
WORKDIR /src
COPY setup.cfg setup.py MANIFEST.in pyproject.toml README.md LICENSE ./
COPY cdc cdc
COPY cdc_reader cdc_reader
COPY redis_sink redis_sink
COPY cdc_verify cdc_verify
RUN python -m venv /opt/cdc && /opt/cdc/bin/pip install --no-cache-dir .

FROM python:3.13-slim
COPY --from=build /opt/cdc /opt/cdc
ENV PATH=/opt/cdc/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /etc/cdc
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["cdc"]
CMD ["run"]
