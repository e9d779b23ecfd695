# The password goes from the Secret's file into a configuration in memory: never on a command line, never on a disk.
set -eu
umask 077
{
  cat /etc/redis/redis.conf
  printf 'requirepass "%s"\n' "$(cat /etc/redis/credentials/password)"
} > /run/redis/redis.conf
# exec: redis-server itself gets the SIGTERM.
exec redis-server /run/redis/redis.conf
