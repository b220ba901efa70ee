#!/bin/sh
# Listen on the port that the environment asks for.
set -eu

port=${SHOP_PORT:-80}
sed -i "s/listen  *[0-9]*;/listen       $port;/" /etc/nginx/conf.d/default.conf
echo "10-listen: listening on port $port"
