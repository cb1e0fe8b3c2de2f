// Package main is a C library: one function for Python's ctypes.
package main

import "C"

//export Add
func Add(a, b C.long) C.long { return a + b }

func main() {}
