/**
 * What runs as PID 1 of a machine: two shell scripts, one after the other, the same in every kernel.
 *
 * `INIT` is in the base image. It puts the layers over each other: the test's files over the package over the base, and memory
 * over all, so that everything can be written; it is gone with the kernel. Then `START` is PID 1: file systems, a test's own
 * AUTOSTART, luod if the command line wants it, and the agent, again and again.
 */

/** Serial numbers of the disks that are layers. */
export const LAYER = { base: 'bed-base', package: 'bed-package', files: 'bed-files' } as const;

/** Run by PID 1 in every kernel, to its end, before anything else is started, if there is one: a test gives it in `files`. */
export const AUTOSTART = '/etc/bed/autostart';

export const INIT = `#!/bin/sh
export PATH=/usr/bin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /mnt
cd /mnt
mkdir upper work root ${LAYER.package} ${LAYER.files}
for disk in /sys/block/*; do
  serial=$(cat $disk/serial 2>/dev/null)
  case $serial in
    ${LAYER.package}|${LAYER.files}) mount -t erofs -o ro /dev/\${disk##*/} /mnt/$serial ;;
  esac
done
layers=/mnt/${LAYER.files}:/mnt/${LAYER.package}:/
if ! mount -t overlay -o lowerdir=$layers,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root; then
  echo 'bed: the layers cannot be put over each other' > /dev/console
  poweroff -f
fi
for place in dev proc sys; do mount -o move /$place /mnt/root/$place; done
cd /mnt/root
pivot_root . mnt
exec chroot . /bed/start
`;

export const START = `#!/bin/sh
cd /
umount -l /mnt
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for place in /run /tmp /var /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $place; done
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
echo "+memory +pids" > /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
ip link set lo up 2>/dev/null || ifconfig lo up
ulimit -n 65536
[ ! -x ${AUTOSTART} ] || ${AUTOSTART} > /run/autostart.out 2>&1
for word in $(cat /proc/cmdline); do
  case $word in
    bed.arm=*)
      fault=\${word#bed.arm=}
      mkdir -p /run/faults
      echo "\${fault#*:}" > "/run/faults/\${fault%%:*}"
      export LUO_FAULT_DIR=/run/faults ;;
  esac
done
for word in $(cat /proc/cmdline); do
  case $word in
    bed.luod=*) /usr/bin/luod --dir "\${word#bed.luod=}" --kexec --log-level debug > /run/luod.out 2>&1 & ;;
  esac
done
while true; do
  /usr/bin/node /luo/dist/test/vm/bed/agent.js > /dev/console 2>&1
  sleep 0.2
done
`;
