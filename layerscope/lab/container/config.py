"""``config.v2.json`` and ``hostconfig.json`` of a container that was created and never started, as docker writes them.

Keys that newer engines have besides are left out: they take their defaults. Source: moby container/container.go,
api/types/container/hostconfig.go; seen with 20.10.24.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from layerscope.formats.gojson import go_json
from layerscope.lab.container.run_config import in_order
from layerscope.model.digest import ContainerID, ImageID

_NEVER = "0001-01-01T00:00:00Z"
_SHM_BYTES = 64 << 20
_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NO_VOLUMES: Mapping[str, str] = MappingProxyType({})
_NO_ENDPOINT = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "MacAddress": "",
    "DriverOpts": None,
    "IPAMOperational": False,
}


def container_config(
    container: ContainerID,
    name: str,
    image: ImageID,
    created: str,
    config: Mapping[str, Any],
    network: str,
    os: str,
    volumes: Mapping[str, str] = _NO_VOLUMES,
    named: Collection[str] = (),
) -> bytes:
    """The text of ``config.v2.json``.

    ``config`` is the container's ``Config``, ``name`` without a slash, ``volumes`` the names of volumes by the path
    where they are mounted, ``named`` those of them that were asked for by name.
    """
    command = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    return go_json(
        {
            "StreamConfig": {},
            "State": {
                "Running": False,
                "Paused": False,
                "Restarting": False,
                "OOMKilled": False,
                "RemovalInProgress": False,
                "Dead": False,
                "Pid": 0,
                "ExitCode": 0,
                "Error": "",
                "StartedAt": _NEVER,
                "FinishedAt": _NEVER,
                "Health": None,
            },
            "ID": container,
            "Created": created,
            "Managed": False,
            "Path": command[0] if command else "",
            "Args": command[1:],
            "Config": in_order(config),
            "Image": image,
            "NetworkSettings": _network_settings(network),
            "LogPath": "",
            "Name": f"/{name}",
            "Driver": "overlay2",
            "OS": os,
            "MountLabel": "",
            "ProcessLabel": "",
            "RestartCount": 0,
            "HasBeenStartedBefore": False,
            "HasBeenManuallyStopped": False,
            "MountPoints": {
                path: _volume(path, volumes[path], volumes[path] in named) for path in sorted(volumes, key=str.encode)
            },
            "SecretReferences": None,
            "ConfigReferences": None,
            "AppArmorProfile": "",
            "HostnamePath": "",
            "HostsPath": "",
            "ShmPath": "",
            "ResolvConfPath": "",
            "SeccompProfile": "",
            "NoNewPrivileges": False,
            "LocalLogCacheMeta": {"HaveNotifyEnabled": False},
        }
    )


def _volume(path: str, name: str, named: bool) -> dict[str, Any]:
    return {
        "Source": "",
        "Destination": path,
        "RW": True,
        "Name": name,
        "Driver": "local",
        "Type": "volume",
        **({"Relabel": "z"} if named else {}),
        "Spec": {"Type": "volume", "Source": name, "Target": path} if named else {},
        "SkipMountpointCreation": False,
    }


def _network_settings(network: str) -> dict[str, Any]:
    return {
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Networks": {"bridge" if network == "default" else network: _NO_ENDPOINT},
        "Service": None,
        "Ports": None,
        "SandboxKey": "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "IsAnonymousEndpoint": False,
        "HasSwarmEndpoint": False,
    }


def host_config(network: str, volumes: Mapping[str, str] = _NO_VOLUMES) -> bytes:
    """The text of ``hostconfig.json``: docker's defaults, and volumes that were asked for by name."""
    return go_json(
        {
            "Binds": [f"{name}:{path}" for path, name in volumes.items()] or None,
            "ContainerIDFile": "",
            "LogConfig": {"Type": "json-file", "Config": {}},
            "NetworkMode": network,
            "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": False,
            "VolumeDriver": "",
            "VolumesFrom": None,
            "CapAdd": None,
            "CapDrop": None,
            "CgroupnsMode": "host",
            "Dns": [],
            "DnsOptions": [],
            "DnsSearch": [],
            "ExtraHosts": None,
            "GroupAdd": None,
            "IpcMode": "private",
            "Cgroup": "",
            "Links": None,
            "OomScoreAdj": 0,
            "PidMode": "",
            "Privileged": False,
            "PublishAllPorts": False,
            "ReadonlyRootfs": False,
            "SecurityOpt": None,
            "UTSMode": "",
            "UsernsMode": "",
            "ShmSize": _SHM_BYTES,
            "Runtime": "runc",
            "ConsoleSize": [0, 0],
            "Isolation": "",
            **dict.fromkeys(("CpuShares", "Memory", "NanoCpus"), 0),
            "CgroupParent": "",
            "BlkioWeight": 0,
            "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": None,
            "BlkioDeviceWriteBps": None,
            "BlkioDeviceReadIOps": None,
            "BlkioDeviceWriteIOps": None,
            **dict.fromkeys(("CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime"), 0),
            "CpusetCpus": "",
            "CpusetMems": "",
            "Devices": [],
            "DeviceCgroupRules": None,
            "DeviceRequests": None,
            **dict.fromkeys(("KernelMemory", "KernelMemoryTCP", "MemoryReservation", "MemorySwap"), 0),
            "MemorySwappiness": None,
            "OomKillDisable": False,
            "PidsLimit": None,
            "Ulimits": None,
            **dict.fromkeys(("CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"), 0),
            "MaskedPaths": list(_MASKED),
            "ReadonlyPaths": list(_READ_ONLY),
        }
    )
