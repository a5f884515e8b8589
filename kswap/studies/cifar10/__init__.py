"""The network of a protocol, converted in several ways and beside its peers, trained alike on CIFAR-10."""
