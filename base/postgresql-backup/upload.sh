set -eu
if [ -z "$BACKUP_BUCKET" ]; then
  echo "no bucket: the dumps are on the claim only"
  exit 0
fi
# Dumps that are there already are not sent again, and never changed. The credentials are those of the ServiceAccount.
rclone copy --immutable --include '*.dump' /backup ":s3,provider=AWS,env_auth=true:$BACKUP_BUCKET/postgresql"
