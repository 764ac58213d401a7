set -eu
dir=$1 kubelet=$2 kubeconfig=$3 bridge=$4 gateway=$5 name=$6

for place in /run /var/lib /var/log; do
  mount -t tmpfs -o mode=755 node "$place"
done

# By hand, so that no plugin has to switch on forwarding for the whole machine.
ip link add "$bridge" type bridge
ip address add "$gateway" dev "$bridge"
ip link set "$bridge" up

containerd --config "$dir/containerd.toml" &
containerd=$!
until ctr version >"$dir/ctr.out" 2>&1; do
  kill -0 "$containerd"
  sleep 0.2
done
for image in "$dir"/images/*.tar; do
  ctr --namespace k8s.io images import --snapshotter native "$image"
done

# Not in place of the shell, which has to bury the orphans.
"$kubelet" --config "$dir/kubelet.json" --kubeconfig "$kubeconfig" --hostname-override "$name" --cert-dir "$dir/pki"
