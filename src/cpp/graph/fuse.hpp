// Neighbouring nodes become one where that saves a walk through memory. Every rewrite here gives the bits of what it
// replaces.
#pragma once
#include <vector>

#include "graph/graph.hpp"

namespace fastnn {

// The nodes of a program, in order, with the same values for the fetches and the same writes.
std::vector<Node> fuse(std::vector<Node> nodes, Tensors fetches);

}  // namespace fastnn
