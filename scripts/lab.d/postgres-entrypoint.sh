#!/bin/bash
# The start-up contract of the official postgres image, as far as projects rely on it.
set -Eeuo pipefail

die() { echo "Error: $*" >&2; exit 1; }

# setting NAME DEFAULT: from $NAME, or from the file that $NAME_FILE names, or DEFAULT
setting() {
	local value=${!1-} file_name=${1}_FILE
	local file=${!file_name-}
	[ -z "$value" ] || [ -z "$file" ] || die "both $1 and $file_name are set (but are exclusive)"
	[ -z "$file" ] || value=$(<"$file")
	export "$1=${value:-$2}"
	unset "$file_name"
}

# init scripts of the official image call it by this name
docker_process_sql() {
	PGHOST='' PGHOSTADDR='' PGPASSWORD=$POSTGRES_PASSWORD psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" "$@"
}

refuse_data_of_older_layout() {
	local dir
	! mountpoint -q /var/lib/postgresql/data ||
		die "in 18+, /var/lib/postgresql/data is an (unused) mount: mount the volume at /var/lib/postgresql"
	for dir in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/*/docker; do
		[ ! -s "$dir/PG_VERSION" ] || die "in 18+, there appears to be PostgreSQL data in $dir: upgrade it with pg_upgrade"
	done
}

init() {
	local args=() file method=${POSTGRES_HOST_AUTH_METHOD-}
	if [ -z "$POSTGRES_PASSWORD" ] && [ "$method" != trust ]; then
		die "Database is uninitialized and superuser password is not specified." \
			"Set POSTGRES_PASSWORD to a non-empty value, or POSTGRES_HOST_AUTH_METHOD=trust."
	fi
	eval "args=($POSTGRES_INITDB_ARGS)" # as the official image does: quotes within it count
	initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") "${args[@]}"
	printf '\nhost all all all %s\n' "${method:-$(postgres -C password_encryption "$@")}" >>"$PGDATA/pg_hba.conf"

	# only on the socket: who waits for TCP is not let in before the scripts have run
	pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "$@" -c listen_addresses=)"
	[ "$POSTGRES_DB" = postgres ] ||
		docker_process_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
	for file in /docker-entrypoint-initdb.d/*; do
		echo "$0: running $file"
		# shellcheck source=/dev/null
		case $file in
			*.sql) docker_process_sql -f "$file" ;;
			*.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
			*) echo "$0: ignoring $file" ;;
		esac
	done
	pg_ctl -D "$PGDATA" -m fast -w stop
	printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

[ "${1:0:1}" != - ] || set -- postgres "$@"
case "${1-} ${2-}" in
	"postgres --help"|"postgres --version"|"postgres -V"|"postgres -?"|"postgres --describe-config") exec "$@" ;;
	"postgres "*) ;;
	*) exec "$@" ;;
esac

setting POSTGRES_PASSWORD ""
setting POSTGRES_USER postgres
setting POSTGRES_DB "$POSTGRES_USER"
setting POSTGRES_INITDB_ARGS ""
mkdir -p "$PGDATA" && chmod 700 "$PGDATA" || true
if [ "$(id -u)" = 0 ]; then
	find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
	HOME=/var/lib/postgresql exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ -s "$PGDATA/PG_VERSION" ]; then
	printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
else
	[ "$PG_MAJOR" -lt 18 ] || refuse_data_of_older_layout
	shopt -s nullglob
	init "${@:2}"
fi
exec "$@"
