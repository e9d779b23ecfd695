# After every start: what the Secret says is the role's password. init.sql sees it on an empty data directory only.
set -eu
# Over TCP: the server that initialises the data directory listens on the socket only.
until pg_isready --quiet --host=127.0.0.1; do sleep 1; done
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host=/var/run/postgresql --username=postgres --dbname=postgres <<'SQL'
\set username `cat /etc/postgresql/credentials/username`
\set password `cat /etc/postgresql/credentials/password`
ALTER ROLE :"username" PASSWORD :'password';
SQL
