#!/bin/sh
# Makes what compose.yaml needs and no repository should hold: ./secrets/*, each readable by its
# owner alone, and .env, which tells compose who that is. What is there already stays.
set -eu
umask 077
cd "$(dirname "$0")"

random() { # random LENGTH: letters and digits
    LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$1"
}

make() { # make NAME CONTENT: writes the whole file or none
    [ -e "secrets/$1" ] && return
    printf '%s\n' "$2" >"secrets/.$1.new"
    chmod 600 "secrets/.$1.new"
    mv "secrets/.$1.new" "secrets/$1"
    echo "made secrets/$1"
}

mkdir -p secrets
chmod 700 secrets
make postgres_password "$(random 40)"
make gateway_pepper "$(random 48)"
make metrics_token "$(random 40)"
make first_api_key "tg-$(random 40)"
make grafana_admin_password "$(random 24)"
make grafana_secret_key "$(random 40)"
make redis_conf "requirepass $(random 40)"
# Of others: put in what they gave you, or change deploy/alertmanager/alertmanager.yml.
make alertmanager_smtp_password "not set"
make alertmanager_slack_url "not set"
make alertmanager_pagerduty_key "not set"

# The containers read these files as their owner. Nothing needs root, so root gives them away.
owner=$(id -u) group=$(id -g)
if [ "$owner" = 0 ]; then
    owner=10001 group=10001
    chown -R "$owner:$group" secrets
fi
printf 'TIDEGATE_UID=%s\nTIDEGATE_GID=%s\n' "$owner" "$group" >.env
