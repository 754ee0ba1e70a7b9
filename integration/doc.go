// Package integration holds what needs more than one package, a kernel or
// other people's programs: the rules of the house, kill tests against the real
// binary, the demo and the benchmarks. Nothing imports it.
package integration
