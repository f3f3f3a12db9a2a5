# The router and its simulator, on a read-only root, as uid 10001, without a compiler. Build it with
#   docker build --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" \
#     --build-arg REVISION="$(git rev-parse HEAD)" -t chutes-autopilot .
# A private index, or an authority of one's own, is lent to the build and never in the image:
#   --secret id=pip.conf,src=pip.conf --secret id=ca.crt,src=ca.crt   (cert = /run/ca.crt in the former)
# The router writes nowhere; the simulator keeps large bodies in /tmp, which may be a small tmpfs.
# Any Debian with python3, python3-venv and ca-certificates can be the base: no path here is peculiar to
# the Python image. scripts/container_check.sh builds these stages on such a base and runs the result.
ARG BASE_IMAGE=python:3.14-slim-trixie@sha256:51dafde81dbdb6ebde285137a295cf18a47ca95234fe388a343719cb97305b3d

FROM ${BASE_IMAGE} AS build
# Seconds since 1970: the date of everything that is made here. The default is arbitrary, but fixed.
ARG SOURCE_DATE_EPOCH=1767225600
ENV PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# The tools stay in this stage: the environment that is shipped has no pip.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/autopilot

# Wheels alone, so that nothing is compiled; setuptools is the one of the development lock.
COPY requirements/runtime.txt requirements/dev.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/run/ca.crt \
    awk '/^[^ #]/ { wanted = /^setuptools==/ } wanted' requirements/dev.txt > requirements/build.txt \
    && tools/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
    && tools/bin/pip --python /opt/autopilot/bin/python install \
       --no-compile --require-hashes --only-binary :all: -r requirements/runtime.txt

COPY LICENSE README.md pyproject.toml setup.py ./
COPY autopilot autopilot
COPY twisted twisted
# One wheel, from which the environment is filled without network. Byte code is made here, as the root
# will be read-only, and never checked against its source, for the same reason.
RUN tools/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/pip --python /opt/autopilot/bin/python install \
       --no-compile --no-index --no-deps --find-links dist chutes-autopilot \
    && /opt/autopilot/bin/python -m compileall -q --invalidation-mode unchecked-hash \
       -x '/tests?/' /opt/autopilot/lib

# Twisted's cache of plug-ins, which nobody could write later. It is believed only while it is newer
# than every plug-in: hence the second between the two dates, of which none is after SOURCE_DATE_EPOCH,
# where a builder that rewrites timestamps would make them equal.
RUN /opt/autopilot/bin/python -c \
       'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))' \
    && find /opt/autopilot -exec \
       touch --no-dereference --date="@$((SOURCE_DATE_EPOCH - 1))" '{}' + \
    && find /opt/autopilot -name dropin.cache -exec touch --date="@${SOURCE_DATE_EPOCH}" '{}' + \
    && test -n "$(find /opt/autopilot -name dropin.cache)"

# Without certificates every request to the platform would fail: better that the build does.
RUN /opt/autopilot/bin/python -c \
       'import sys; from autopilot.trust_store import trust_store_problem; sys.exit(trust_store_problem())'


FROM ${BASE_IMAGE} AS runtime
ARG SOURCE_DATE_EPOCH=1767225600
ARG AUTOPILOT_UID=10001
ARG AUTOPILOT_GID=10001
RUN groupadd --gid "${AUTOPILOT_GID}" autopilot \
    && useradd --uid "${AUTOPILOT_UID}" --gid autopilot --no-log-init --no-create-home \
       --home-dir /nonexistent --shell /usr/sbin/nologin autopilot
COPY --from=build /opt/autopilot /opt/autopilot

# Unbuffered, so that the last line before an end is not lost.
ENV PATH=/opt/autopilot/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# twistd puts its directory on the module path: it must be one that nobody can write to.
WORKDIR /opt/autopilot
# By number, because Kubernetes' runAsNonRoot cannot judge a name.
USER ${AUTOPILOT_UID}:${AUTOPILOT_GID}
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["/opt/autopilot/bin/python", "-m", "autopilot.healthcheck"]
# twistd as PID 1 installs its own handlers; the router starts no process that would have to be reaped.
ENTRYPOINT ["/opt/autopilot/bin/twistd", "-n", "--pidfile="]
CMD ["autopilot"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG BASE_IMAGE
LABEL org.opencontainers.image.title="chutes-autopilot" \
      org.opencontainers.image.description="An event-driven, OpenAI-compatible router for the LLM models of Chutes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
