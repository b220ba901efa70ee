#!/bin/sh
# Tell the web server where the shop's service is.
set -eu

[ -n "${SHOP_API:-}" ] || exit 0
sed -i "s|proxy_pass .*;|proxy_pass  $SHOP_API;|" /etc/nginx/conf.d/default.conf
echo "20-api: requests for /api/ go to $SHOP_API"
