# The search page and the `dmae` command in a container.
#
#   docker build -t dmae .
#   docker run -p 127.0.0.1:7860:7860 -v dmae-data:/data -v dmae-models:/models dmae
#
# PyTorch comes from its index of CPU wheels. For a GPU take PyPI's wheels, which are built for CUDA:
#   docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t dmae:cuda . && docker run --gpus all … dmae:cuda

FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.6,<2.14"

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dmae dmae
COPY modeling modeling
COPY retrieval retrieval
COPY space space
COPY training training
RUN pip install --no-cache-dir ".[mcp,watch]"

# /data keeps indexes and the demo, /models what was downloaded from the Hub; both are the user's own to write.
RUN useradd --create-home --uid 1000 dmae && install -d -o dmae -g dmae /data /models
USER dmae
WORKDIR /data
VOLUME ["/data", "/models"]
ENV HF_HOME=/models GRADIO_SERVER_NAME=0.0.0.0 GRADIO_ANALYTICS_ENABLED=False PYTHONUNBUFFERED=1

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ.get('GRADIO_SERVER_PORT', '7860'), timeout=8)"]
ENTRYPOINT ["dmae"]
CMD ["serve"]
