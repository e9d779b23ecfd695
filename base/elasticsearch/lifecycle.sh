# An index of logs is deleted when it is old enough. Each run says so again: a new cluster learns it within the hour.
set -eu
put() {
  # The credentials come on standard input: not on the command line.
  # The authority that has signed the certificate is made by the operator, in this cluster; the flow says who can answer.
  printf 'user = "%s:%s"\n' "$ELASTICSEARCH_USERNAME" "$ELASTICSEARCH_PASSWORD" |
    curl --config - --insecure --silent --show-error --fail-with-body --max-time 60 \
      --request PUT --header 'Content-Type: application/json' --data "$2" "$ELASTICSEARCH_URL/$1"
  echo
}
put _ilm/policy/ecommerce \
  "{\"policy\": {\"phases\": {\"hot\": {\"actions\": {}}, \"delete\": {\"min_age\": \"$LOG_RETENTION\", \"actions\": {\"delete\": {}}}}}}"
put _index_template/ecommerce \
  '{"index_patterns": ["ecommerce-*"], "template": {"settings": {"index.lifecycle.name": "ecommerce", "index.auto_expand_replicas": "0-1"}}}'
