# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the figures of segmentation are, in words, written beside them."""

RESAMPLES = 200
"""Of the images; 300 of them with about 2700 instances take about half a minute on one core."""

PROTOCOL = {
    "metric": "COCO's average precision; pycocotools matches, draws the curves and takes the means",
    "iou": "AP: mean over IoU 0.50 to 0.95 in steps of 0.05; AP50 and AP75: at that IoU alone; "
    "precision read at 101 recalls",
    "max_detections": "the best 100 of a class in an image; AR also at the best 1 and 10",
    "area": "all sizes, where a group does not say otherwise",
    "class_set": "object alone where a group does not say otherwise: whatever a network calls a "
    "found thing, only a tote is told apart, and totes are left out of truths and answers",
    "answers": "of our networks all that score above 0, of a peer all in its file; a threshold on "
    "the score only sets the working points",
    "truths": "masks, areas and boxes of the data set's own file, where it lacks an area or a box "
    "those of the mask",
    "crowd": "a truth marked as crowd is neither found nor missed, and answers that lie in it "
    "count neither for nor against",
    "interval": f"95 % percentile bootstrap, {RESAMPLES} draws of the images with replacement, "
    "each accumulated by pycocotools; n counts images; 0 to 1 where a single image holds truths; "
    "without width where all images are alike, which says nothing of other images",
    "selection": "nothing is chosen on this split, but for at_best_f1",
    "broken": "images that cannot be read, or have an annotation that cannot, are left out "
    "and listed",
}

MASK = "IoU of masks; object alone"
BOX = (
    "IoU of boxes; object alone; the box of an answer is the one it states, else the extent of its "
    "mask, which is what our stage reports"
)
TOTE_AND_OBJECT = (
    "object and tote, each by itself, and their mean over the classes that have truths; a network "
    "that knows no tote finds none, and its AP of totes stays 0 in the mean. Of the published "
    "figures it is not known whether totes are in their mean"
)
BY_SIZE = (
    "mask AP, object alone, by the area of the truth: small below 0.333 % of the image, large "
    "above 3 %: COCO's 32 x 32 and 96 x 96 pixels on its images of about 640 x 480, scaled with "
    "the image, limits within; answers that match nothing count in the range of their own mask"
)
CROWDING = (
    "images by the number of their objects, crowds not counted; AP of each bin's images alone, "
    "object alone, over masks (ap, ap50, ap75) and under box over boxes"
)
AT_THRESHOLD = (
    "masks, object alone, IoU 0.5, the best max_instances above the configured score threshold; "
    "Wilson's interval over answers (precision) and truths (recall) as if they were independent; "
    "those of one image are not, so it is somewhat too narrow"
)
AT_BEST_F1 = (
    "as at_threshold, at the threshold out of 0.05, 0.10 ... 0.95 with the best F1 on these very "
    "images: chosen on this split, so it is too good to report"
)
