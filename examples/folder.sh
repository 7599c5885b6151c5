#!/bin/sh
# Ask for each image of a folder: folder.sh http://localhost:8000 FOLDER
# One line a file: name, tab, answer. A file that is refused gets the service's reason.
# For many images `predict-model` is faster, and needs no server.
set -eu
url=$1
for file in "$2"/*; do
    answer=$(curl --silent --show-error --retry 4 --retry-connrefused \
        --data-binary "@$file" --header 'content-type: application/octet-stream' \
        "$url/predict?top_k=1")
    printf '%s\t%s\n' "$file" "$answer"
done
