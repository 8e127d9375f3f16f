"""K-FAC in float64 numpy: loops over examples and positions, and the whole Kronecker product solved."""

from __future__ import annotations

import numpy as np


def linear_factors(inputs, gradients):
    """A and G from each example's input (n, in) and its own loss's output gradient (n, out), a bias appended."""
    a_sum, g_sum = 0.0, 0.0
    for example, gradient in zip(inputs, gradients, strict=True):
        a = np.append(example, 1.0)
        a_sum = a_sum + np.outer(a, a)
        g_sum = g_sum + np.outer(gradient, gradient)
    return a_sum / len(inputs), g_sum / len(inputs)


def convolution_factors(inputs, gradients, kernel, padding, stride, dilation=1):
    """The same for a square convolution without bias: inputs (n, c, h, w), gradients (n, out, h', w')."""
    a_sum, g_sum = 0.0, 0.0
    _, _, height, width = gradients.shape
    for image, gradient in zip(inputs, gradients, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        for y in range(height):
            for x in range(width):
                rows = [y * stride + dilation * k for k in range(kernel)]
                columns = [x * stride + dilation * k for k in range(kernel)]
                patch = padded[:, rows][:, :, columns].ravel()
                a_sum = a_sum + np.outer(patch, patch)
                g_sum = g_sum + np.outer(gradient[:, y, x], gradient[:, y, x])
    return a_sum / len(inputs), g_sum / (len(inputs) * height * width)


def natural_gradient(matrix, a, g, damping):
    """Solve ((A + pi sqrt(damping)) kron (G + sqrt(damping) / pi)) vec(D) = vec(dW), columns stacked."""
    pi = np.sqrt(a.diagonal().mean() / g.diagonal().mean())
    a = a + pi * np.sqrt(damping) * np.eye(len(a))
    g = g + np.sqrt(damping) / pi * np.eye(len(g))
    solved = np.linalg.solve(np.kron(a, g), matrix.T.ravel())
    return solved.reshape(matrix.shape[1], matrix.shape[0]).T
