# Two images, of one static program each and nothing else. `cargo images` builds the programs and these, with buildah;
# to build them otherwise, have the folder with both programs as the context:
#   docker build --target webhook --tag backout-webhook:0.1.0 --file Dockerfile FOLDER

FROM scratch AS webhook
COPY backout-webhook /backout-webhook
USER 65532:65532
ENTRYPOINT ["/backout-webhook"]

FROM scratch AS watcher
COPY backout-watcher /backout-watcher
USER 65532:65532
ENTRYPOINT ["/backout-watcher"]
